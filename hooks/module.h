/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.h - the images that modules and libraries were loaded from, for drivers that cannot tell a
 * kernel's parameter layout (before 12.4).
 *
 * Kept only where it is needed: every function here is a no-op with newer drivers. One leaf mutex,
 * never held across a driver call or while an image is parsed.
 */
#ifndef KV_HOOKS_MODULE_H
#define KV_HOOKS_MODULE_H

#include <stdbool.h>

#include "hooks/layout.h"

/* True if layouts have to come from images: an old driver, or config.force_cubin_layouts. */
bool kv_images_wanted(void);

/*
 * The name and the layout of a function or kernel, from the image that it was loaded from. name:
 * what the driver says, or NULL. On success the caller frees both; on failure *ret_name may still
 * be set (else NULL). -ENOENT: the handle, its image or the kernel in it is unknown; else as
 * kv_image_layout().
 */
int kv_module_layout(
	const void *function, const char *name, char **ret_name, struct kv_layout **ret_layout);

#endif
