/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.h - what the shim (the room above) gives to and gets from hooks.
 *
 * hooks never reads the environment and never logs by itself: the embedder fills this structure
 * once, when kv_embed_setup() is called. That happens on the first hooked driver call that could
 * matter (an initialisation, an allocation), never from a constructor and never from inside a
 * symbol look-up.
 */
#ifndef KV_HOOKS_HOOKS_H
#define KV_HOOKS_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/core.h"
#include "core/select.h"

struct kv_ruleset;

struct kv_hooks_config {
	struct kv_core_config core;
	struct kv_select_rules
		select;        /* which allocations become reservations; see core/select.h */
	const char *tag_rules; /* core/tag_rules.h; NULL: none */
	uint64_t scan_bytes;   /* uploads up to this size are searched for pointers */
	const struct kv_ruleset *rules; /* of recognised kernels; NULL: every kernel is unknown */
	const char *transient_kernels;  /* comma-separated globs over kernel names that keep no
					   pointer */
	uint64_t report_budget; /* cuMemGetInfo answers for a device of this size; 0: the real */
	bool ahead;             /* planes get their next pages before they need them */
	bool report_raw_memory; /* cuMemGetInfo answers with the driver's numbers */
	uint32_t evict_every;   /* testing: evict everything before every n-th submission */
	uint32_t evict_interval_ms; /* testing: evict everything every n ms from a thread */
	bool force_cubin_layouts;   /* testing: do not ask the driver for parameter layouts */
	/* Called once per device before its space is made, with no lock held. Fills *ret_sink
	 * (zeroed before) or returns a negative errno: the device is then left alone (all native).
	 */
	int (*device_found)(void *ctx, const uint8_t uuid[16], const char *name,
		uint64_t total_bytes, struct kv_stats_sink *ret_sink);
	/* May be NULL. A device on which we cannot work, for good; note is one line that says why
	 * and that has been logged. Once per device, with no lock held, after device_found if that
	 * was called at all. */
	void (*device_inert)(void *ctx, const uint8_t uuid[16], const char *name,
		uint64_t total_bytes, const char *note);
	void *ctx;
};

/*
 * Implemented by the embedder (shim/init.c). Fills *ret_config, which stays valid for the life of
 * the process. 0: work. Negative errno: be inert; the embedder has said why.
 */
int kv_embed_setup(struct kv_hooks_config *ret_config);

/* What the process is at this moment, for the embedder's public API and for tests. */
enum kv_hooks_mode {
	KV_HOOKS_UNREADY = 0, /* nothing has been set up yet */
	KV_HOOKS_ACTIVE = 1,
	KV_HOOKS_INERT = 2, /* every call goes straight to the driver, for good */
};
enum kv_hooks_mode kv_hooks_mode(void);
/* The core of this process, NULL unless active. */
struct kv_core *kv_hooks_core(void);

/*
 * What the calling thread says about its next allocations (core/select.h), until it is popped.
 * name: up to 31 bytes are kept with the reservation and shown in the statistics; NULL: none.
 * priority: 0 (the first to be evicted) to 255. Calls no driver. push: -ENOSPC: 16 lie there. pop:
 * -ENOENT: none does.
 */
int kv_tag_push(enum kv_tag tag, const char *name, int priority);
int kv_tag_pop(void);

/* ---- calls that the program makes into the shim ---- */

/*
 * Between enter and leave the calling thread is inside the gate, for core's functions marked
 * [inside]. False: inert, or called from one of our own calls.
 */
bool kv_call_enter(void);
void kv_call_leave(void);
/* Around core's functions marked [outside]: what they ask of the driver is not the program's. */
void kv_call_begin(void);
void kv_call_end(void);

/* True while a stream capture is open in this process. */
bool kv_hooks_captures(void);
/* The space of a device by its ordinal; NULL: this process had no reservation there, or inert. */
struct kv_space *kv_hooks_space(int ordinal);
/*
 * [outside] A reservation on the device of the current context, of any size. -ENODEV: inert, or no
 * context. -EBUSY: a capture is open. -ENOMEM: it cannot be promised. -EOPNOTSUPP: native memory
 * was all that could be had.
 */
int kv_hooks_allocate(uint64_t size, const char *tag, struct kv_reservation **ret_reservation);
void kv_hooks_release(uint64_t addr);

#endif
