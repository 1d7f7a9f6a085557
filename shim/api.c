/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.c - kvshim.h: versions, errors, tags, statistics, quota.
 */
#include "shim/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/coord_shm.h"
#include "core/core.h"
#include "core/want.h"
#include "hooks/hooks.h"
#include "shim/log.h"

/* ---- errors ---- */

int kv_api_error(int error)
{
	switch (error) {
	case 0:
		return 0;
	case -ENOMEM:
	case -ENOSPC:
		return KVSHIM_ERR_NO_MEMORY;
	case -EINVAL:
		return KVSHIM_ERR_INVALID;
	case -EFAULT:
		return KVSHIM_ERR_FOREIGN;
	case -EEXIST:
		return KVSHIM_ERR_OVERLAP;
	case -ERANGE:
	case -EOVERFLOW:
		return KVSHIM_ERR_BOUNDS;
	case -ENOENT:
		return KVSHIM_ERR_UNKNOWN;
	case -EBUSY:
		return KVSHIM_ERR_BUSY;
	case -ETIMEDOUT:
		return KVSHIM_ERR_TIMEOUT;
	case -ESTALE:
		return KVSHIM_ERR_GONE;
	case -EOPNOTSUPP:
		return KVSHIM_ERR_UNSUPPORTED;
	default:
		return KVSHIM_ERR_DEVICE;
	}
}

int kv_api_refuse(int error, const char *call, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	kv_log(KV_LOG_WARN, "api", "%s: %s (%s)", call, text, kvshim_strerror(error));
	return error;
}

bool kv_api_may_predict = true;

int kv_api_ready(void)
{
	/* atomic: relaxed; worth a line once, whoever says it */
	static _Atomic bool was_ready;

	if (kv_hooks_mode() == KV_HOOKS_ACTIVE) {
		if (!atomic_load_explicit(&was_ready, memory_order_relaxed))
			atomic_store_explicit(&was_ready, true, memory_order_relaxed);
		return 0;
	}
	if (atomic_exchange_explicit(&was_ready, false, memory_order_relaxed))
		kv_log(KV_LOG_WARN, "api",
			"no call does anything any more: this is a forked child, or the shim has "
			"given up");
	return KVSHIM_ERR_INERT;
}

void kv_api_reap(void)
{
	struct kv_space *space;

	kv_call_begin();
	for (int i = 0; i < KV_API_DEVICES; i++) {
		space = kv_hooks_space(i);
		if (space)
			kv_reap(space, NULL);
	}
	kv_call_end();
}

/* The first member of every structure. */
static uint64_t size_of(const void *structure)
{
	uint64_t size;

	memcpy(&size, structure, sizeof(size));
	return size;
}

#define SIZE_MIN 16u
#define SIZE_MAX_ 65536u

int kv_api_give(void *to, const void *from, uint64_t from_size, const char *call)
{
	uint64_t size;

	if (!to)
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "no place for the answer");
	size = size_of(to);
	if (size < SIZE_MIN || size > SIZE_MAX_ || size % sizeof(size))
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "the structure's size is not set");
	memset((char *)to + sizeof(size), 0, size - sizeof(size));
	memcpy((char *)to + sizeof(size), (const char *)from + sizeof(size),
		(size < from_size ? size : from_size) - sizeof(size));
	return 0;
}

int kv_api_take(void *to, const void *from, uint64_t to_size, uint64_t first_size, const char *call)
{
	uint64_t size;

	if (!from)
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "no description");
	size = size_of(from);
	if (size < first_size || size > SIZE_MAX_ || size % sizeof(size))
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "the structure's size is not set");
	memset(to, 0, to_size);
	memcpy(to, from, size < to_size ? size : to_size);
	return 0;
}

int kvshim_version(void)
{
	return KVSHIM_API_VERSION;
}

int kvshim_active(void)
{
	switch (kv_hooks_mode()) {
	case KV_HOOKS_ACTIVE:
		return 1;
	case KV_HOOKS_UNREADY:
		return 0;
	default:
		return KVSHIM_ERR_INERT;
	}
}

/* ---- tags ---- */

int kvshim_tag_push(const char *name, int mode, int priority)
{
	static const enum kv_tag tags[] = {
		[KVSHIM_MODE_KEEP] = KV_TAG_NONE,
		[KVSHIM_MODE_LAZY] = KV_TAG_LAZY,
		[KVSHIM_MODE_EAGER] = KV_TAG_EAGER,
		[KVSHIM_MODE_NATIVE] = KV_TAG_NATIVE,
	};

	if (!name || !*name)
		return kv_api_refuse(KVSHIM_ERR_INVALID, __func__, "a tag needs a name");
	if (mode < KVSHIM_MODE_KEEP || mode > KVSHIM_MODE_NATIVE)
		return kv_api_refuse(KVSHIM_ERR_INVALID, __func__, "there is no mode %d", mode);
	if (priority < 0 || priority > 255)
		return kv_api_refuse(
			KVSHIM_ERR_INVALID, __func__, "priority %d is not 0 to 255", priority);
	if (kv_tag_push(tags[mode], name, priority) < 0)
		return kv_api_refuse(KVSHIM_ERR_NO_MEMORY, __func__, "too many tags");
	return 0;
}

int kvshim_tag_pop(void)
{
	if (kv_tag_pop() < 0)
		return kv_api_refuse(KVSHIM_ERR_UNDERFLOW, __func__, "nothing was pushed");
	return 0;
}

/* One walk over what has a tag. */
struct tagged {
	const char *name;
	bool resume, keep;
	uint32_t n;
	uint64_t bytes;
	int error; /* the first one */
};

static void tagged_one(struct tagged *tagged, struct kv_reservation *r, uint64_t backed)
{
	struct kv_reservation_stats after;
	uint64_t bytes = 0;
	int error;

	if (!tagged->resume) {
		kv_call_begin();
		error = kv_pause(r, tagged->keep, &bytes);
		kv_call_end();
		tagged->bytes += bytes;
	} else if (!kv_call_enter()) {
		error = -ENODEV;
	} else {
		error = kv_resume(r);
		kv_call_leave();
		kv_reservation_stats(r, &after);
		tagged->bytes += after.backed > backed ? after.backed - backed : 0;
	}
	if (tagged->error == 0)
		tagged->error = error;
}

static int visit_tagged(void *ctx, struct kv_reservation *r)
{
	struct tagged *tagged = ctx;
	struct kv_reservation_stats stats;

	kv_reservation_stats(r, &stats);
	if (stats.base == 0 || strncmp(stats.tag, tagged->name, sizeof(stats.tag) - 1) != 0)
		return 0;
	tagged->n++;
	tagged_one(tagged, r, stats.backed);
	return 0;
}

static int each_tagged(struct tagged *tagged, uint64_t *ret_bytes, const char *call)
{
	int error = kv_api_ready();

	if (error < 0)
		return error;
	if (!tagged->name || !*tagged->name)
		return kv_api_refuse(KVSHIM_ERR_INVALID, call, "a tag has a name");
	if (kv_hooks_captures())
		return kv_api_refuse(KVSHIM_ERR_BUSY, call, "a capture is open");
	kv_core_each(kv_hooks_core(), visit_tagged, tagged);
	if (ret_bytes)
		*ret_bytes = tagged->bytes;
	if (!tagged->n)
		return kv_api_refuse(
			KVSHIM_ERR_UNKNOWN, call, "nothing has the tag '%.31s'", tagged->name);
	return kv_api_error(tagged->error);
}

int kvshim_tag_pause(const char *name, int keep, uint64_t *ret_bytes)
{
	struct tagged tagged = {.name = name, .keep = keep != 0};

	return each_tagged(&tagged, ret_bytes, __func__);
}

int kvshim_tag_resume(const char *name, uint64_t *ret_bytes)
{
	struct tagged tagged = {.name = name, .resume = true};

	return each_tagged(&tagged, ret_bytes, __func__);
}

/* ---- statistics ---- */

/* The space of a device, for a call; NULL: *ret_error says why. */
static struct kv_space *space_of(int device, const char *call, int *ret_error)
{
	struct kv_space *space;

	*ret_error = kv_api_ready();
	if (*ret_error < 0)
		return NULL;
	space = kv_hooks_space(device);
	if (!space)
		*ret_error = kv_api_refuse(KVSHIM_ERR_DEVICE, call,
			"this process has had no reservation on device %d", device);
	return space;
}

int kvshim_stats_get(int device, struct kvshim_stats *ret_stats)
{
	struct kv_process_stats s;
	struct kv_coord_limits limits;
	struct kvshim_stats stats;
	struct kv_space *space;
	int error;

	space = space_of(device, __func__, &error);
	if (!space)
		return error;
	kv_space_stats(space, &s);
	kv_space_limits(space, &limits);
	stats = (struct kvshim_stats){
		.reserved = s.reserved,
		.backed = s.backed,
		.backed_peak = s.backed_peak,
		.evicted = s.evicted,
		.spilled = s.spilled,
		.spare = s.spare,
		.native = s.native,
		.native_peak = s.native_peak,
		.host_budget = s.host_budget,
		.reservations = s.n_reservations,
		.reservations_static = s.n_static,
		.pages_backed = s.pages_backed,
		.pages_released = s.pages_released,
		.pages_evicted = s.pages_evicted,
		.pages_restored = s.pages_restored,
		.pages_spilled = s.pages_spilled,
		.driver_calls = s.driver_calls,
		.submissions = s.submissions,
		.quiesces = s.quiesces,
		.quiesce_timeouts = s.quiesce_timeouts,
		.quiesce_ns_max = s.quiesce_ns_max,
		.refused = s.refused,
		.passed = s.passed,
		.last_submission_ns = s.last_submission_ns,
		.waits = s.waits,
		.wait_timeouts = s.wait_timeouts,
		.wait_ns = s.wait_ns,
		.wait_ns_max = s.wait_ns_max,
		.pages_promoted = s.pages_promoted,
		.pages_not_copied = s.pages_not_copied,
		.pages_ahead = s.pages_ahead,
		.pages_ahead_used = s.pages_ahead_used,
		.evictions = s.evictions,
		.evicted_bytes = s.evicted_bytes,
		.evict_ns = s.evict_ns,
		.restores = s.restores,
		.restored_bytes = s.restored_bytes,
		.restore_ns = s.restore_ns,
		.reclaims = s.reclaims,
		.reclaimed_bytes = s.reclaimed_bytes,
		.denied = s.denied,
		.host_taken = s.host_taken,
		.submitted = s.submitted,
		.launches = s.launches,
		.launch_ns_p50 = kv_stats_quantile(s.launch_ns, 50),
		.launch_ns_p99 = kv_stats_quantile(s.launch_ns, 99),
		.last_activity_ns = s.last_activity_ns,
		.min = limits.min,
		.max = limits.max,
		.host_limit = limits.host_budget,
		.weight = limits.weight,
		.idle_ms = limits.idle_ms,
		.state = kv_space_activity(space),
	};
	_Static_assert((int)KVSHIM_STATE_BUSY == (int)KV_COORD_BUSY &&
			       (int)KVSHIM_STATE_IDLE == (int)KV_COORD_IDLE &&
			       (int)KVSHIM_STATE_EVICTED == (int)KV_COORD_EVICTED,
		"the same numbers");
	return KV_API_GIVE(ret_stats, stats, __func__);
}

struct next {
	uint64_t after;
	struct kv_reservation *found;
};

static int visit_next(void *ctx, struct kv_reservation *r)
{
	struct next *next = ctx;

	if (kv_reservation_base(r) <= next->after)
		return 0;
	next->found = r;
	return 1;
}

int kvshim_reservation_next(uint64_t after, struct kvshim_reservation *ret_reservation)
{
	struct next next = {.after = after};
	struct kvshim_reservation row = {0};
	struct kv_reservation_stats s = {0};
	int error = kv_api_ready();

	if (error < 0)
		return error;
	kv_core_each(kv_hooks_core(), visit_next, &next);
	if (next.found)
		kv_reservation_stats(next.found, &s);
	if (s.base == 0)
		return KVSHIM_ERR_UNKNOWN; /* the end of a walk: nothing to complain about */
	row.base = s.base;
	row.requested = s.requested;
	row.reserved = s.reserved;
	row.backed = s.backed;
	row.backed_peak = s.backed_peak;
	row.evicted = s.evicted;
	row.spilled = s.spilled;
	row.page_size = s.page_size;
	row.wanted = kv_wanted_pages(next.found) * s.page_size;
	row.created_ns = s.created_ns;
	row.static_reason = s.static_reason;
	row.priority = kv_reservation_priority(next.found);
	row.is_managed = kv_manage_any(next.found);
	row.is_paused = kv_is_paused(next.found);
	_Static_assert(
		sizeof(row.static_by) == sizeof(s.static_by) && sizeof(row.tag) == sizeof(s.tag),
		"the same texts");
	memcpy(row.static_by, s.static_by, sizeof(row.static_by));
	memcpy(row.tag, s.tag, sizeof(row.tag));
	return KV_API_GIVE(ret_reservation, row, __func__);
}
