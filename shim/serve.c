/* SPDX-License-Identifier: Apache-2.0 */
/* serve.c - requests of other processes and what becomes of them; see serve.h. */
#include "shim/serve.h"

#include <errno.h>

#include "core/coord_ledger.h"
#include "shim/log.h"

/* The agent looks by itself once per second, at no cost: it does so for the statistics anyway. */
#define LOOK_NS 1000000000ull
#define RETRY_NS 20000000ull
/* Whoever asks waits; after so long it is better to hear why not. */
#define PATIENCE_NS 1000000000ull
/* Requests done in one turn: another process can post as fast as they are answered. */
#define REQUESTS_PER_TURN 16

static const char *const names[] = {
	[KV_COORD_EVICT] = "evict",
	[KV_COORD_RESTORE] = "restore",
	[KV_COORD_RECLAIM] = "reclaim",
	[KV_COORD_PAUSE] = "pause",
	[KV_COORD_RESUME] = "resume",
};

/* Bytes moved, or a negative errno. */
static int64_t act(
	struct kv_coord *coord, struct kv_space *space, const struct kv_coord_asked *asked)
{
	uint64_t bytes = 0;
	int error = 0;

	switch (asked->kind) {
	case KV_COORD_EVICT:
		error = kv_evict_gently(space, asked->bytes, false, &bytes);
		bytes += kv_space_trim(space, asked->bytes > bytes ? asked->bytes - bytes : 0);
		break;
	case KV_COORD_RESTORE:
		error = kv_restore(space, asked->bytes, &bytes);
		break;
	case KV_COORD_RECLAIM:
		bytes = kv_space_give(space, asked->bytes, asked->flags & KV_COORD_IN_USE_TOO);
		kv_coord_ledger_settle(coord);
		break;
	case KV_COORD_PAUSE:
		error = kv_space_pause(space, asked->tag, &bytes);
		break;
	case KV_COORD_RESUME:
		error = kv_space_resume(space, asked->tag, &bytes);
		break;
	default:
		error = -EOPNOTSUPP;
	}
	if (error < 0 && bytes == 0)
		return error;
	return bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
}

/* True if it was answered, false if it is to be tried again. */
static bool serve(struct kv_coord *coord, struct kv_space *space,
	const struct kv_coord_asked *asked, uint64_t now_ns)
{
	int64_t result = act(coord, space, asked);

	if ((result == -ETIMEDOUT || result == -EBUSY) && now_ns - asked->asked_ns < PATIENCE_NS)
		return false;
	kv_log(KV_LOG_DEBUG, "agent", "%s, asked for by process %d: %lld", names[asked->kind],
		(int)asked->by_pid, (long long)result);
	kv_coord_answer(coord, asked, result);
	return true;
}

/* Device bytes above the maximum. */
static uint64_t excess_of(struct kv_space *space, const struct kv_coord_limits *limits)
{
	struct kv_process_stats stats;
	uint64_t held;

	kv_space_stats(space, &stats);
	held = stats.backed + stats.spare;
	return held > limits->max ? held - limits->max : 0;
}

static void obey_limits(
	struct kv_coord *coord, struct kv_space *space, const struct kv_coord_limits *limits)
{
	uint64_t excess;

	kv_coord_ledger_set_host_budget(coord, limits->host_budget);
	kv_space_set_idle(space, limits->idle_ms * 1000000ull);
	excess = excess_of(space, limits);
	if (excess) {
		kv_space_give(space, excess, true);
		kv_coord_ledger_settle(coord);
	}
}

uint64_t kv_serve_turn(void *ctx, struct kv_space *space, uint64_t now_ns)
{
	struct kv_coord *coord = ctx;
	struct kv_coord_limits limits;
	struct kv_coord_asked asked;

	kv_coord_beat(coord);
	kv_coord_ledger_catch_up(coord);
	if (kv_coord_new_limits(coord, &limits))
		obey_limits(coord, space, &limits);
	for (int i = 0; i < REQUESTS_PER_TURN && kv_coord_next(coord, &asked); i++) {
		if (!serve(coord, space, &asked, now_ns))
			return RETRY_NS;
	}
	return kv_coord_next(coord, &asked) ? RETRY_NS : LOOK_NS;
}

void kv_serve_activity(void *ctx, uint32_t activity)
{
	kv_coord_put_activity(ctx, (enum kv_coord_activity)activity);
}
