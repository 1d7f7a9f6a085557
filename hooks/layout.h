/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - where the parameters of one kernel lie in its parameter block.
 *
 * Made by the image readers (cubin.c, ptx.c, fatbin.c) and by kernel.c from the driver's answers.
 * One heap block, owned by whoever got it, immutable after that; no lock.
 */
#ifndef KV_HOOKS_LAYOUT_H
#define KV_HOOKS_LAYOUT_H

#include <stdint.h>

/* More than any toolkit's compiler accepts (4 KiB, later 32764 bytes of parameters). */
#define KV_LAYOUT_PARAMS_MAX 4096u
#define KV_LAYOUT_BYTES_MAX 65536u

struct kv_layout {
	uint32_t n_params;
	uint32_t params_size; /* bytes of the packed block */
	struct kv_layout_param {
		uint32_t offset, size; /* bytes */
	} params[];                    /* n_params, in the order of the declaration */
};

#endif
