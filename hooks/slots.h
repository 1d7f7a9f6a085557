/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.h - import slots that were bound past us.
 *
 * An object that was loaded with RTLD_DEEPBIND, or that searches libcuda before the global scope,
 * has libcuda's own addresses in its import slots. They are turned to our wrappers, those that
 * cuGetProcAddress would hand out.
 */
#ifndef KV_HOOKS_SLOTS_H
#define KV_HOOKS_SLOTS_H

/*
 * Looks through the import slots of every loaded object, if any was loaded since the last look.
 * Cheap when nothing was (one walk over the list of objects; never on a launch path). Needs
 * kv_real_load() to have succeeded; otherwise does nothing. Not for use inside a look-up: takes the
 * loader's lock. Thread-safe. The number of slots rewritten by this call, or a negative errno
 * (-EBUSY: another thread is at it). libcuda's own slots and ours are left alone.
 */
int kv_slots_rewrite(void);

#endif
