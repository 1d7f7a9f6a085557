/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_image.c - cubins, fatbins and PTX from nowhere: whatever comes in, a layout that goes out is
 * one that the launch path can use.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "hooks/fatbin.h"
#include "tests/fuzz/fuzz.h"

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check(const struct kv_layout *layout)
{
	require(layout->n_params <= KV_LAYOUT_PARAMS_MAX);
	for (uint32_t i = 0; i < layout->n_params; i++) {
		const struct kv_layout_param *p = &layout->params[i];

		require(p->size > 0 && p->size <= KV_LAYOUT_BYTES_MAX);
		require(p->offset <= KV_LAYOUT_BYTES_MAX);
		require(p->offset + p->size <= layout->params_size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kernels[] = {"mixed", "large_block", "empty", ""};
	size_t found = 0;

	if (!kv_image_size(data, size, &found))
		require(found <= size);
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		struct kv_layout *layout = NULL;

		if (!kv_image_layout(data, size, kernels[i], &layout))
			check(layout);
		else
			require(!layout);
		free(layout);
	}
	return 0;
}
