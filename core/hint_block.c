/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint_block.c - which blocks of a region live, and the pages under them; see hint.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/hint_body.h"
#include "core/poison.h"

/* ---- blocks and pages ---- */

/* Scratch for the pieces of n blocks in any place. 0 or -ENOMEM. */
static int make_scratch(struct kv_region *region, uint64_t n)
{
	struct kv_span *grown;
	uint64_t wanted;

	if (__builtin_mul_overflow(n, region->n_ranges * sizeof(*grown), &wanted))
		return -ENOMEM;
	if (wanted <= region->spans_size)
		return 0;
	grown = realloc(region->spans, wanted);
	if (!grown)
		return -ENOMEM;
	region->spans = grown;
	region->spans_size = wanted;
	return 0;
}

/* The pieces of n blocks in one place; there is scratch for them. */
static const struct kv_span *spans_of(
	struct kv_region *region, const struct place *place, const int64_t *blocks, uint64_t n)
{
	uint64_t k = 0;

	for (uint64_t i = place->first; i < place->first + place->n; i++) {
		const struct kv_region_range *range = &region->ranges[i];

		for (uint64_t b = 0; b < n; b++) {
			region->spans[k++] = (struct kv_span){
				range->address - place->base + (uint64_t)blocks[b] * range->stride,
				range->bytes};
		}
	}
	return region->spans;
}

static int unwant_places(struct kv_region *region, const int64_t *blocks, uint64_t n, uint64_t end)
{
	int error = 0;

	for (uint64_t i = 0; i < end && n; i++) {
		struct place *place = &region->places[i];
		int res = kv_unwant(
			place->r, place->id, spans_of(region, place, blocks, n), n * place->n);

		error = error ? error : res;
	}
	return error;
}

/* What lies beside the ranges may be used at any time. */
static int want_rest(struct place *place)
{
	int error;

	if (place->rest_wanted || place->n_rest == 0)
		return 0;
	error = kv_want(place->r, place->id, place->rest, place->n_rest);
	place->rest_wanted = error == 0;
	return error;
}

static int want_places(struct kv_region *region, const int64_t *blocks, uint64_t n)
{
	for (uint64_t i = 0; i < region->n_places; i++) {
		struct place *place = &region->places[i];
		int error = want_rest(place);

		if (error == 0 && n)
			error = kv_want(place->r, place->id, spans_of(region, place, blocks, n),
				n * place->n);
		if (error < 0) {
			unwant_places(region, blocks, n, i);
			return error;
		}
	}
	return 0;
}

/* Managed as it was declared? If not, nothing of it is believed any more. */
static int check_places(struct kv_region *region)
{
	for (uint64_t i = 0; i < region->n_places && !region->stale; i++)
		region->stale = !kv_manage_is(region->places[i].r, region->places[i].id);
	if (region->stale)
		return -ESTALE;
	for (uint64_t i = 0; i < region->n_places; i++)
		kv_manage_alive(region->places[i].r, region->places[i].id);
	return 0;
}

static int stale(struct kv_region *region, int error)
{
	if (error != -ENOENT)
		return error;
	region->stale = true;
	return -ESTALE;
}

/* The blocks of a list that are in no list yet, in the order of the list; NULL: no memory. */
static int64_t *pick(struct kv_region *region, const int64_t *blocks, uint64_t n, uint64_t *ret_n)
{
	int64_t *picked = malloc((n ? n : 1) * sizeof(*picked));
	uint64_t k = 0;

	for (uint64_t i = 0; picked && i < n; i++) {
		if (region->blocks[blocks[i]] != DEAD)
			continue;
		region->blocks[blocks[i]] = LISTED;
		picked[k++] = blocks[i];
	}
	*ret_n = k;
	return picked;
}

static void set_blocks(struct kv_region *region, const int64_t *blocks, uint64_t n, enum block to)
{
	for (uint64_t i = 0; i < n; i++)
		region->blocks[blocks[i]] = to;
}

static bool all_exist(const struct kv_region *region, const int64_t *blocks, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (blocks[i] < 0 || (uint64_t)blocks[i] >= region->n_blocks)
			return false;
	}
	return true;
}

static void stop_waiting(struct kv_region *region, int64_t block)
{
	uint64_t i = 0;

	while (region->waiting[i].block != block)
		i++;
	region->waiting[i] = region->waiting[--region->n_waiting];
	region->blocks[block] = LIVE;
}

int kv_region_touch(struct kv_region *region, const int64_t *blocks, uint64_t n)
{
	uint64_t n_new;
	int64_t *new;
	int error;

	if (!all_exist(region, blocks, n))
		return -ENOENT;
	error = check_places(region);
	if (error == 0)
		error = make_scratch(region, n);
	if (error < 0)
		return error;
	new = pick(region, blocks, n, &n_new);
	if (!new)
		return -ENOMEM;
	error = want_places(region, new, n_new);
	set_blocks(region, new, n_new, error < 0 ? DEAD : LIVE);
	free(new);
	if (error < 0)
		return stale(region, error);
	for (uint64_t i = 0; i < n; i++) {
		/* Touched again before its last step: it stays. */
		if (region->blocks[blocks[i]] == WAITING)
			stop_waiting(region, blocks[i]);
	}
	region->n_live += n_new;
	region->n_touched++;
	return 0;
}

/* Room for n more that wait. 0 or -ENOMEM. */
static int make_room(struct kv_region *region, uint64_t n)
{
	uint64_t wanted = region->n_waiting + n;
	struct waiting *grown;

	if (wanted <= region->waiting_size)
		return 0;
	grown = realloc(region->waiting, wanted * 2 * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	region->waiting = grown;
	region->waiting_size = wanted * 2;
	return 0;
}

int kv_region_release(
	struct kv_region *region, const int64_t *blocks, uint64_t n, uint32_t after_steps)
{
	uint64_t i;
	int error;

	if (!all_exist(region, blocks, n))
		return -ENOENT;
	error = check_places(region);
	if (error == 0)
		error = make_scratch(region, n);
	if (error == 0 && after_steps)
		error = make_room(region, n);
	if (error < 0)
		return error;
	for (i = 0; i < n && region->blocks[blocks[i]] == LIVE; i++)
		region->blocks[blocks[i]] = LISTED;
	if (i < n) {
		set_blocks(region, blocks, i, LIVE);
		return -ENOENT;
	}
	if (after_steps == 0)
		error = unwant_places(region, blocks, n, region->n_places);
	if (error < 0) {
		set_blocks(region, blocks, n, LIVE);
		return stale(region, error);
	}
	region->n_released++;
	if (after_steps == 0) {
		set_blocks(region, blocks, n, DEAD);
		region->n_live -= n;
		return 0;
	}
	set_blocks(region, blocks, n, WAITING);
	for (i = 0; i < n; i++)
		region->waiting[region->n_waiting++] =
			(struct waiting){blocks[i], region->step + after_steps};
	return 0;
}

int kv_region_step(struct kv_region *region)
{
	uint64_t n_due = 0, kept = 0;
	int64_t *due;
	int error;

	error = check_places(region);
	if (error < 0)
		return error;
	region->step++;
	for (uint64_t i = 0; i < region->n_waiting; i++)
		n_due += region->waiting[i].due <= region->step;
	if (n_due == 0)
		return 0;
	due = calloc(n_due, sizeof(*due));
	/* Without memory they wait one more step. */
	if (!due || make_scratch(region, n_due) < 0) {
		free(due);
		return 0;
	}
	n_due = 0;
	for (uint64_t i = 0; i < region->n_waiting; i++) {
		if (region->waiting[i].due <= region->step)
			due[n_due++] = region->waiting[i].block;
		else
			region->waiting[kept++] = region->waiting[i];
	}
	region->n_waiting = kept;
	error = unwant_places(region, due, n_due, region->n_places);
	set_blocks(region, due, n_due, DEAD);
	region->n_live -= n_due;
	free(due);
	return stale(region, error);
}

/* ---- questions ---- */

int kv_region_blocks(struct kv_region *region, uint64_t address, uint64_t length, bool whole,
	int64_t *ret_first, int64_t *ret_end)
{
	const struct kv_region_range *range = &region->ranges[0];
	uint64_t hull = kv_geometry_hull(range, region->n_blocks), from, to, first, end;

	if (region->n_ranges > 1)
		return -EOPNOTSUPP;
	if (address < range->address || address - range->address > hull ||
		length > hull - (address - range->address))
		return -ERANGE;
	from = address - range->address;
	to = from + length;
	if (whole) {
		first = region->n_blocks == 1 ? from > 0
					      : (from + range->stride - 1) / range->stride;
		end = to < range->bytes       ? 0
		      : region->n_blocks == 1 ? 1
					      : (to - range->bytes) / range->stride + 1;
	} else if (region->n_blocks == 1) {
		first = 0;
		end = length > 0;
	} else {
		first = from / range->stride;
		if (from % range->stride >= range->bytes)
			first++; /* begins in the gap behind it */
		end = length ? (to - 1) / range->stride + 1 : first;
	}
	if (end > region->n_blocks)
		end = region->n_blocks;
	*ret_first = (int64_t)first;
	*ret_end = (int64_t)(end > first ? end : first);
	return 0;
}

bool kv_region_lives(const struct kv_region *region, int64_t block)
{
	return region->blocks[block] == LIVE;
}

void kv_region_state(struct kv_region *region, struct kv_region_state *ret_state)
{
	struct kv_region_state state = {
		.n_blocks = region->n_blocks,
		.n_live = region->n_live,
		.n_waiting = region->n_waiting,
		.n_touched = region->n_touched,
		.n_released = region->n_released,
	};

	for (uint64_t i = 0; i < region->n_places; i++) {
		const struct place *place = &region->places[i];
		struct kv_reservation_stats stats;

		if (!kv_manage_is(place->r, place->id)) {
			state.is_static = true;
			continue;
		}
		kv_reservation_stats(place->r, &stats);
		state.backed += stats.backed;
		state.wanted += kv_wanted_pages(place->r) * stats.page_size;
	}
	*ret_state = state;
}
