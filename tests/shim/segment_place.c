/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/shim/segment_place.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place place;

void place_make(void)
{
	strcpy(place.directory, "/tmp/kvshim-test-XXXXXX");
	cr_assert_not_null(mkdtemp(place.directory));
	memset(place.uuid, 0xab, sizeof(place.uuid));
	cr_assert_eq(kv_coord_path(place.directory, (uint32_t)geteuid(), place.uuid, place.path,
			     sizeof(place.path)),
		0);
}

void place_remove(void)
{
	unlink(place.path);
	rmdir(place.directory);
}

int place_join_within(
	uint64_t lock_timeout_ns, struct kv_coord **ret_coord, char *text, uint32_t text_size)
{
	struct kv_coord_request request = {.directory = place.directory,
		.gpu_name = "Test GPU",
		.gpu_total = 1ull << 30,
		.lock_timeout_ns = lock_timeout_ns};

	memcpy(request.uuid, place.uuid, sizeof(request.uuid));
	return kv_coord_join(&request, ret_coord, text, text_size);
}

int place_join(struct kv_coord **ret_coord, char *text, uint32_t text_size)
{
	return place_join_within(0, ret_coord, text, text_size);
}
