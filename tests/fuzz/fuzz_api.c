/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_api.c - calls of kvshim.h with arguments from nowhere, over core on a fake GPU: geometries,
 * lists of blocks, lengths, ids, structures of any size. Whatever is refused has changed nothing,
 * core stays consistent, nothing is left over; rules of tags, too.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/tag_rules.h"
#include "tests/api/door.h"
#include "tests/fuzz/fuzz.h"

#define PAGE 4096u
#define IDS 4u
#define CALLS 64 /* by one input */

static void require(int holds)
{
	if (!holds)
		abort();
}

/* The input, word by word; zeros behind its end. */
struct input {
	const uint8_t *data;
	size_t size;
	struct buffer memory[2];
	uint64_t regions[IDS], pools[IDS], models[IDS], caches[IDS];
	uint64_t made[CALLS]; /* all caches, also those that were forgotten */
	uint32_t n_made;
};

static uint8_t byte(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

/* Small, near a power of two, near an address of ours, or anything. */
static uint64_t word(struct input *in)
{
	uint8_t kind = byte(in), value = byte(in);
	uint64_t any = 0;

	switch (kind % 6) {
	case 0:
		return value;
	case 1:
		return (uint64_t)value * PAGE / 4;
	case 2:
		return (1ull << value % 64) + (uint64_t)(kind / 6) - 3;
	case 3:
		return in->memory[value % 2].base + (uint64_t)(kind / 6) * 512;
	case 4:
		return UINT64_MAX - value;
	default:
		for (int i = 0; i < 8; i++)
			any = any << 8 | byte(in);
		return any;
	}
}

static uint64_t id(struct input *in, const uint64_t ids[IDS])
{
	uint8_t which = byte(in);

	return which % 8 == 7 ? word(in) : ids[which % IDS];
}

struct before {
	struct kvshim_stats stats;
	struct kvshim_region_stats region;
};

static void look(const struct input *in, struct before *b)
{
	memset(b, 0, sizeof(*b));
	b->stats.size = sizeof(b->stats);
	b->region.size = sizeof(b->region);
	require(kvshim_stats_get(0, &b->stats) == 0);
	kvshim_region_stats_get(in->regions[0], &b->region);
}

/* What an invalid call leaves is what was there. */
static void check(const struct input *in, const struct before *before, int error)
{
	struct before after;

	if (error != KVSHIM_ERR_INVALID && error != KVSHIM_ERR_UNKNOWN &&
		error != KVSHIM_ERR_BOUNDS && error != KVSHIM_ERR_OVERLAP &&
		error != KVSHIM_ERR_FOREIGN)
		return;
	look(in, &after);
	require(memcmp(before, &after, sizeof(after)) == 0);
}

static int declare(struct input *in)
{
	struct kvshim_range ranges[4];
	struct kvshim_region_desc desc = {
		sizeof(desc), word(in), byte(in) % 5, ranges, byte(in) % 8, UINT32_MAX, "fuzz"};
	uint64_t *to = &in->regions[byte(in) % IDS], new = 0;
	int error;

	for (uint64_t i = 0; i < desc.n_ranges; i++)
		ranges[i] = (struct kvshim_range){word(in), word(in), word(in)};
	if (byte(in) % 8 == 0)
		desc.size = word(in) %
			    sizeof(desc); /* a shorter one; longer ones are not ours to read */
	error = kvshim_region_declare(&desc, &new);
	require(error <= 0 && (error == 0) == (new != 0));
	if (error == 0) {
		kvshim_region_end(*to);
		*to = new;
	}
	return error;
}

static int hint(struct input *in)
{
	int64_t blocks[6];
	uint64_t region = id(in, in->regions);
	int64_t n = byte(in) % 8 ? byte(in) % 7 : -1;

	for (int i = 0; i < 6; i++)
		blocks[i] = byte(in) % 4 ? byte(in) : (int64_t)word(in);
	switch (byte(in) % 5) {
	case 0:
		return kvshim_touch(region, blocks, n);
	case 1:
		return kvshim_release(region, blocks, n, (int8_t)byte(in));
	case 2:
		return kvshim_touch_bytes(region, word(in), (int64_t)word(in));
	case 3:
		return kvshim_release_bytes(region, word(in), (int64_t)word(in));
	default:
		return kvshim_step(region);
	}
}

static int new_pool(struct input *in, uint64_t *pool)
{
	struct kvshim_pool_desc desc = {sizeof(desc), 16 * PAGE, byte(in) % 2, 0, "fuzz"};

	if (*pool)
		return kvshim_pool_destroy(*pool);
	if (byte(in) % 4 == 0)
		desc.capacity = word(in) % (64 * PAGE);
	return kvshim_pool_create(&desc, pool);
}

static int new_model(struct input *in, uint64_t *model)
{
	struct kvshim_model_desc desc = {sizeof(desc), 0, 0, 0, 0, 64, 1000, 0, 0, "fuzz"};
	uint64_t pool = id(in, in->pools);

	if (byte(in) % 4 == 0)
		desc = (struct kvshim_model_desc){sizeof(desc), byte(in), byte(in), byte(in),
			byte(in), word(in), word(in), word(in), word(in), "fuzz"};
	return kvshim_model_register(pool, &desc, model);
}

static int pools(struct input *in)
{
	struct kvshim_cache cache = {sizeof(cache), 0, 0, 0, 0, 0};
	uint8_t what = byte(in);
	uint32_t at = byte(in) % IDS;
	int when = byte(in) % 4, error;
	int64_t tokens;

	when = when == KVSHIM_SHORT_WAIT ? KVSHIM_SHORT_DEGRADE : when; /* nobody frees */
	switch (what % 8) {
	case 0:
		return new_pool(in, &in->pools[at]);
	case 1:
		return new_model(in, &in->models[at]);
	case 2:
	case 3:
		tokens = (int64_t)word(in);
		error = kvshim_cache_alloc(id(in, in->models), tokens, when, 0, &cache);
		if (error == 0)
			in->caches[at] = in->made[in->n_made++] = cache.id;
		return error;
	case 4:
		tokens = (int64_t)word(in);
		return kvshim_cache_extend(id(in, in->caches), tokens, when, 0, &cache);
	case 5:
		return kvshim_cache_free(id(in, in->caches));
	case 6:
		return kvshim_model_unregister(id(in, in->models));
	default:
		return kvshim_pool_rebalance(id(in, in->pools));
	}
}

/* Everything goes. */
static void end(struct input *in)
{
	struct kvshim_pool_stats stats = {.size = sizeof(stats)};

	for (uint32_t i = 0; i < in->n_made; i++)
		kvshim_cache_free(in->made[i]);
	for (uint32_t i = 0; i < IDS; i++) {
		kvshim_region_end(in->regions[i]);
		if (kvshim_pool_stats_get(in->pools[i], &stats) < 0)
			continue;
		require(stats.n_caches == 0 && stats.used == 0);
		require(kvshim_pool_destroy(in->pools[i]) == 0);
	}
	for (int i = 0; i < 2; i++)
		require(buffer_free(&door, &in->memory[i]) == 0);
}

static void rules(struct input *in)
{
	static const char *const frames[] = {"libcudart.so.13", NULL, "cudaMalloc"};
	struct kv_select_request request = {.size = word(in),
		.libraries = frames,
		.symbols = frames,
		.n_frames = 3,
		.device_total = 1ull << 36};
	struct kv_tag_rule rule;
	char text[256];
	size_t n = in->size < sizeof(text) - 1 ? in->size : sizeof(text) - 1;

	memcpy(text, in->data, n);
	text[n] = '\0';
	kv_tag_rules_check(text);
	kv_tag_rules_need_frames(text);
	if (kv_tag_rules_match(text, &request, word(in), &rule))
		require(memchr(rule.name, 0, sizeof(rule.name)) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.data = data, .size = size};
	struct before before;
	static bool is_open; /* regions belong to the process, as they do under the shim */

	if (!is_open)
		door_open((struct fixture_options){.device_pages = 256, .host_pages = 256});
	is_open = true;
	for (int i = 0; i < 2; i++)
		require(buffer_new(&door, 16 * PAGE, &in.memory[i]) == 0);
	for (int n = 0; in.size && n < CALLS; n++) {
		look(&in, &before);
		switch (byte(&in) % 4) {
		case 0:
			check(&in, &before, declare(&in));
			break;
		case 1:
			check(&in, &before, hint(&in));
			break;
		case 2:
			check(&in, &before, pools(&in));
			break;
		default:
			rules(&in);
			break;
		}
	}
	end(&in);
	look(&in, &before);
	require(before.stats.reserved == 0 && before.stats.backed == 0);
	require(fixture_check(&door) == NULL);
	return 0;
}
