/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hint.c - the registry of regions, and how they are declared; see hint.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hint_body.h"
#include "core/poison.h"

#define REGION_BLOCKS_MAX (1ull << 32)
#define REGION_RANGES_MAX 4096u

/* ---- the registry ---- */

int kv_regions_new(struct kv_core *core, struct kv_regions **ret_regions)
{
	struct kv_regions *regions = calloc(1, sizeof(*regions));

	if (!regions)
		return -ENOMEM;
	regions->core = core;
	pthread_mutex_init(&regions->mutex, NULL);
	pthread_cond_init(&regions->turns, NULL);
	*ret_regions = regions;
	return 0;
}

static void free_region(struct kv_region *region)
{
	for (uint64_t i = 0; region->places && i < region->n_places; i++)
		free(region->places[i].rest);
	free(region->places);
	free(region->ranges);
	free(region->blocks);
	free(region->waiting);
	free(region->spans);
	free(region);
}

void kv_regions_free(struct kv_regions *regions)
{
	struct kv_region *region;

	while ((region = regions->list))
		kv_region_end(kv_region_claim(regions, region->id));
	pthread_cond_destroy(&regions->turns);
	pthread_mutex_destroy(&regions->mutex);
	free(regions);
}

struct kv_region *kv_region_claim(struct kv_regions *regions, uint64_t id)
{
	struct kv_region *region;

	pthread_mutex_lock(&regions->mutex);
	for (region = regions->list; region && region->id != id; region = region->next)
		;
	if (region) {
		region->n_waiters++;
		while (region->busy)
			pthread_cond_wait(&regions->turns, &regions->mutex);
		region->n_waiters--;
		if (region->ended) {
			if (region->n_waiters == 0)
				free_region(region);
			region = NULL;
		} else {
			region->busy = true;
		}
	}
	pthread_mutex_unlock(&regions->mutex);
	return region;
}

void kv_region_yield(struct kv_region *region)
{
	struct kv_regions *regions = region->regions;

	pthread_mutex_lock(&regions->mutex);
	region->busy = false;
	pthread_cond_broadcast(&regions->turns);
	pthread_mutex_unlock(&regions->mutex);
}

/* ---- declaring ---- */

/* [mutex] Shares a byte with another region? */
static bool meets_others(const struct kv_regions *regions, const struct kv_region *region)
{
	for (const struct kv_region *o = regions->list; o; o = o->next) {
		for (uint64_t i = 0; i < o->n_ranges; i++) {
			for (uint64_t j = 0; j < region->n_ranges; j++) {
				if (kv_geometry_meets(&o->ranges[i], o->n_blocks,
					    &region->ranges[j], region->n_blocks))
					return true;
			}
		}
	}
	return false;
}

static int by_address(const void *a, const void *b)
{
	uint64_t x = ((const struct kv_region_range *)a)->address;
	uint64_t y = ((const struct kv_region_range *)b)->address;

	return x < y ? -1 : x > y;
}

/* Sorts the ranges into the reservations that they lie in. */
static int find_places(struct kv_region *region)
{
	struct kv_core *core = region->regions->core;
	struct place *place = NULL;

	qsort(region->ranges, region->n_ranges, sizeof(*region->ranges), by_address);
	for (uint64_t i = 0; i < region->n_ranges; i++) {
		const struct kv_region_range *range = &region->ranges[i];
		struct kv_reservation *r = kv_core_find(core, range->address);

		if (!r)
			return -EFAULT;
		if (range->address + kv_geometry_hull(range, region->n_blocks) >
			kv_reservation_base(r) + kv_reservation_requested(r))
			return -ERANGE;
		if (!place || place->r != r) {
			place = &region->places[region->n_places++];
			place->r = r;
			place->base = kv_reservation_base(r);
			place->first = i;
		}
		place->n++;
	}
	return 0;
}

/* What of the reservation lies in no hull. */
static int find_rest(struct kv_region *region, struct place *place)
{
	uint64_t at = 0, size = kv_reservation_requested(place->r);

	place->rest = calloc(place->n + 1, sizeof(*place->rest));
	if (!place->rest)
		return -ENOMEM;
	for (uint64_t i = place->first; i < place->first + place->n; i++) {
		uint64_t from = region->ranges[i].address - place->base;
		uint64_t to = from + kv_geometry_hull(&region->ranges[i], region->n_blocks);

		if (from > at)
			place->rest[place->n_rest++] = (struct kv_span){at, from - at};
		at = to > at ? to : at;
	}
	if (at < size)
		place->rest[place->n_rest++] = (struct kv_span){at, size - at};
	return 0;
}

static void end_places(struct kv_region *region, uint64_t n)
{
	while (n--)
		kv_manage_end(region->places[n].r, region->places[n].id);
}

static int take_places(struct kv_region *region, const struct kv_region_config *config)
{
	struct kv_manage_config manage = {.keep = config->keep, .watchdog_ns = config->watchdog_ns};
	int error = 0;

	for (uint64_t i = 0; i < region->n_places && !config->part; i++) {
		error = find_rest(region, &region->places[i]);
		if (error < 0)
			return error;
	}
	for (uint64_t i = 0; i < region->n_places; i++) {
		error = kv_manage_begin(region->places[i].r, &manage, &region->places[i].id);
		if (error < 0) {
			end_places(region, i);
			return error;
		}
	}
	return 0;
}

static struct kv_region *new_region(
	struct kv_regions *regions, const struct kv_region_config *config)
{
	struct kv_region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	region->regions = regions;
	region->n_blocks = config->n_blocks;
	region->n_ranges = config->n_ranges;
	region->ranges = calloc(config->n_ranges, sizeof(*region->ranges));
	region->places = calloc(config->n_ranges, sizeof(*region->places));
	region->blocks = calloc(config->n_blocks, 1);
	if (!region->ranges || !region->places || !region->blocks) {
		free_region(region);
		return NULL;
	}
	memcpy(region->ranges, config->ranges, config->n_ranges * sizeof(*region->ranges));
	return region;
}

int kv_region_declare(
	struct kv_regions *regions, const struct kv_region_config *config, uint64_t *ret_id)
{
	struct kv_region *region;
	int error;

	if (config->n_blocks > REGION_BLOCKS_MAX || config->n_ranges > REGION_RANGES_MAX)
		return -EINVAL;
	error = kv_geometry_check(config->ranges, config->n_ranges, config->n_blocks);
	if (error < 0)
		return error;
	region = new_region(regions, config);
	if (!region)
		return -ENOMEM;
	pthread_mutex_lock(&regions->mutex);
	while (regions->declaring)
		pthread_cond_wait(&regions->turns, &regions->mutex);
	regions->declaring = true;
	pthread_mutex_unlock(&regions->mutex);

	/* What lies beyond its own allocation is said to: it may meet anybody's. */
	error = find_places(region);
	if (error == 0) {
		pthread_mutex_lock(&regions->mutex);
		error = meets_others(regions, region) ? -EEXIST : 0;
		pthread_mutex_unlock(&regions->mutex);
	}
	if (error == 0)
		error = take_places(region, config);

	pthread_mutex_lock(&regions->mutex);
	regions->declaring = false;
	pthread_cond_broadcast(&regions->turns);
	if (error == 0) {
		region->id = *ret_id = ++regions->last_id;
		region->next = regions->list;
		regions->list = region;
	}
	pthread_mutex_unlock(&regions->mutex);
	if (error < 0)
		free_region(region);
	return error;
}

void kv_region_end(struct kv_region *region)
{
	struct kv_regions *regions = region->regions;
	struct kv_region **at;
	bool last;

	for (uint64_t i = 0; i < region->n_places; i++) {
		struct place *place = &region->places[i];

		if (kv_manage_is(place->r, place->id))
			kv_manage_end(place->r, place->id);
	}
	pthread_mutex_lock(&regions->mutex);
	for (at = &regions->list; *at != region; at = &(*at)->next)
		;
	*at = region->next;
	region->ended = true;
	region->busy = false;
	last = region->n_waiters == 0;
	pthread_cond_broadcast(&regions->turns);
	pthread_mutex_unlock(&regions->mutex);
	if (last)
		free_region(region);
}
