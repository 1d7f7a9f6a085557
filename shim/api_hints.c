/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_hints.c - kvshim.h: regions.
 */
#include "shim/api.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/hint.h"
#include "hooks/hooks.h"
#include "shim/log.h"

#define WATCHDOG_MS 10000u
#define STEPS_MAX 1000

/* Made once, kept for the life of the process. atomic: release, partner acquire */
static _Atomic(struct kv_regions *) all;

static struct kv_regions *regions(void)
{
	struct kv_regions *mine, *none = NULL;

	mine = atomic_load_explicit(&all, memory_order_acquire);
	if (mine || kv_regions_new(kv_hooks_core(), &mine) < 0)
		return mine;
	if (atomic_compare_exchange_strong(&all, &none, mine))
		return mine;
	kv_regions_free(mine);
	return none;
}

/* What kv_region_declare() found wrong, in words. */
static int refuse_region(int error, const char *name, const char *call)
{
	static const struct {
		int error;
		const char *why;
	} reasons[] = {
		{-EINVAL, "no blocks, no ranges, no bytes, or too many of them"},
		{-EOVERFLOW, "a range ends beyond the address space"},
		{-ERANGE, "a range ends beyond its allocation"},
		{-EEXIST, "pieces of blocks share bytes, here or with another region"},
		{-EFAULT, "a range is not in a reservation: nothing to be hinted there"},
		{-EBUSY, "the memory is exported, or the device cannot be drained now"},
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
		if (reasons[i].error == error)
			return kv_api_refuse(kv_api_error(error), call, "region '%.31s': %s", name,
				reasons[i].why);
	}
	return kv_api_refuse(kv_api_error(error), call, "region '%.31s' (error %d)", name, -error);
}

int kvshim_region_declare(const struct kvshim_region_desc *desc, uint64_t *ret_region)
{
	struct kvshim_region_desc d;
	struct kv_region_config config;
	int error = kv_api_ready();

	if (error < 0)
		return error;
	error = KV_API_TAKE(d, desc, 72, __func__);
	if (error < 0)
		return error;
	d.name[sizeof(d.name) - 1] = '\0';
	if (!ret_region || (d.flags & ~(uint32_t)(KVSHIM_REGION_KEEP | KVSHIM_REGION_PART)))
		return kv_api_refuse(KVSHIM_ERR_INVALID, __func__,
			"region '%s': unknown flags, or no place for the answer", d.name);
	if (kv_hooks_captures())
		return refuse_region(-EBUSY, d.name, __func__);
	if (!regions())
		return KVSHIM_ERR_NO_MEMORY;
	_Static_assert(sizeof(struct kvshim_range) == sizeof(struct kv_region_range),
		"the same three words");
	config = (struct kv_region_config){
		.n_blocks = d.n_blocks,
		.n_ranges = d.n_ranges,
		.ranges = (const struct kv_region_range *)d.ranges,
		.keep = d.flags & KVSHIM_REGION_KEEP,
		.part = d.flags & KVSHIM_REGION_PART,
		.watchdog_ns = d.watchdog_ms == UINT32_MAX
				       ? 0
				       : (d.watchdog_ms ? d.watchdog_ms : WATCHDOG_MS) * 1000000ull,
	};
	kv_call_begin();
	error = kv_region_declare(regions(), &config, ret_region);
	kv_call_end();
	if (error < 0)
		return refuse_region(error, d.name, __func__);
	kv_log(KV_LOG_DEBUG, "hints", "region %llu '%s': %llu blocks in %llu ranges",
		(unsigned long long)*ret_region, d.name, (unsigned long long)d.n_blocks,
		(unsigned long long)d.n_ranges);
	return 0;
}

/* The region, with its turn taken; NULL: *ret_error says why. */
static struct kv_region *claim(uint64_t id, const char *call, int *ret_error)
{
	struct kv_region *region;

	*ret_error = kv_api_ready();
	if (*ret_error < 0)
		return NULL;
	region = regions() ? kv_region_claim(regions(), id) : NULL;
	if (!region)
		*ret_error = kv_api_refuse(KVSHIM_ERR_UNKNOWN, call, "there is no region %llu",
			(unsigned long long)id);
	return region;
}

int kvshim_region_end(uint64_t region)
{
	struct kv_region *claimed;
	int error;

	claimed = claim(region, __func__, &error);
	if (!claimed)
		return error;
	kv_region_end(claimed);
	return 0;
}

enum action { TOUCH, RELEASE, STEP };

/* One hint, inside. */
static int act(struct kv_region *region, enum action action, const int64_t *blocks, int64_t n,
	int after_steps)
{
	int error;

	if (!kv_call_enter())
		return -ENODEV;
	switch (action) {
	case TOUCH:
		error = kv_region_touch(region, blocks, (uint64_t)n);
		break;
	case RELEASE:
		error = kv_region_release(region, blocks, (uint64_t)n, (uint32_t)after_steps);
		break;
	default:
		error = kv_region_step(region);
		break;
	}
	kv_call_leave();
	return error;
}

static int hint(uint64_t id, enum action action, const int64_t *blocks, int64_t n, int after_steps,
	const char *call)
{
	struct kv_region *region;
	int error;

	if (n < 0 || (n && !blocks) || after_steps < 0 || after_steps > STEPS_MAX)
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "%lld blocks, %d steps: not a list",
			(long long)n, after_steps);
	region = claim(id, call, &error);
	if (!region)
		return error;
	error = act(region, action, blocks, n, after_steps);
	if (error == -ENOMEM && action == TOUCH) {
		kv_api_reap();
		error = act(region, action, blocks, n, after_steps);
	}
	kv_region_yield(region);
	if (error == -ENOENT)
		return kv_api_refuse(KVSHIM_ERR_UNKNOWN, call,
			action == TOUCH ? "a block that region %llu does not have"
					: "a block that does not live in region %llu, or twice",
			(unsigned long long)id);
	return kv_api_error(error);
}

int kvshim_touch(uint64_t region, const int64_t *blocks, int64_t n)
{
	return hint(region, TOUCH, blocks, n, 0, __func__);
}

int kvshim_release(uint64_t region, const int64_t *blocks, int64_t n, int after_steps)
{
	return hint(region, RELEASE, blocks, n, after_steps, __func__);
}

int kvshim_step(uint64_t region)
{
	return hint(region, STEP, NULL, 0, 0, __func__);
}

/* [claimed] The blocks of a piece of address space, as a list; of those to release, what lives. */
static int list_blocks(struct kv_region *region, uint64_t address, uint64_t length,
	enum action action, int64_t **ret_blocks, int64_t *ret_n)
{
	int64_t first, end, n = 0, *blocks;
	int error;

	error = kv_region_blocks(region, address, length, action == RELEASE, &first, &end);
	if (error < 0)
		return error;
	blocks = malloc((size_t)(end - first + 1) * sizeof(*blocks));
	if (!blocks)
		return -ENOMEM;
	for (int64_t b = first; b < end; b++) {
		if (action == TOUCH || kv_region_lives(region, b))
			blocks[n++] = b;
	}
	*ret_blocks = blocks;
	*ret_n = n;
	return 0;
}

static int hint_bytes(
	uint64_t id, enum action action, uint64_t address, int64_t length, const char *call)
{
	struct kv_region *region;
	int64_t *blocks, n;
	int error;

	if (length < 0)
		return kv_api_refuse(
			KVSHIM_ERR_INVALID, call, "a length of %lld", (long long)length);
	region = claim(id, call, &error);
	if (!region)
		return error;
	error = list_blocks(region, address, (uint64_t)length, action, &blocks, &n);
	if (error == 0) {
		error = act(region, action, blocks, n, 0);
		free(blocks);
	}
	kv_region_yield(region);
	if (error == -ERANGE || error == -EOPNOTSUPP)
		return kv_api_refuse(kv_api_error(error), call, "region %llu: %s",
			(unsigned long long)id,
			error == -ERANGE ? "not inside its range" : "it has several ranges");
	return kv_api_error(error);
}

int kvshim_touch_bytes(uint64_t region, uint64_t address, int64_t length)
{
	return hint_bytes(region, TOUCH, address, length, __func__);
}

int kvshim_release_bytes(uint64_t region, uint64_t address, int64_t length)
{
	return hint_bytes(region, RELEASE, address, length, __func__);
}

int kvshim_region_stats_get(uint64_t region, struct kvshim_region_stats *ret_stats)
{
	struct kvshim_region_stats stats;
	struct kv_region_state state;
	struct kv_region *claimed;
	int error;

	claimed = claim(region, __func__, &error);
	if (!claimed)
		return error;
	kv_region_state(claimed, &state);
	kv_region_yield(claimed);
	stats = (struct kvshim_region_stats){
		.n_blocks = state.n_blocks,
		.live = state.n_live,
		.waiting = state.n_waiting,
		.touched = state.n_touched,
		.released = state.n_released,
		.wanted = state.wanted,
		.backed = state.backed,
		.is_static = state.is_static,
	};
	return KV_API_GIVE(ret_stats, stats, __func__);
}
