/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c - joining the shared segments, and what to say when that fails; see segment.h. */
#include "shim/segment.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/coord_ledger.h"
#include "shim/log.h"
#include "shim/serve.h"

#define DEVICES_MAX 64

struct place {
	uint8_t uuid[16];
	struct kv_coord *coord;
};

static struct {
	pthread_mutex_t mutex;
	struct kv_segment_config config;  /* immutable after set-up */
	struct place places[DEVICES_MAX]; /* guarded by mutex */
	unsigned n_places;                /* guarded by mutex */
	int last_error;                   /* guarded by mutex; the last one that was reported */
} joined = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void kv_segment_setup(const struct kv_segment_config *config)
{
	joined.config = *config;
}

static void put_process(void *ctx, const struct kv_process_stats *stats)
{
	kv_coord_put_process(ctx, stats);
}

static void put_row(void *ctx, uint32_t row, const struct kv_reservation_stats *stats)
{
	kv_coord_put_row(ctx, row, stats);
}

static int get_limits(void *ctx, struct kv_coord_limits *ret_limits)
{
	struct kv_coord *coord = ctx;

	return kv_coord_limits(coord, kv_coord_slot_index(coord), ret_limits, NULL);
}

/* What went wrong and what to do about it. path: of the segment. */
static void explain(int error, const char *path, const char *what, char *text, size_t size)
{
	const char *dir = joined.config.directory;

	switch (-error) {
	case EPROTO:
		snprintf(text, size, "segment %s is damaged (%s); stop its users and remove it",
			path, what);
		break;
	case EPROTONOSUPPORT:
		snprintf(text, size,
			"segment %s is of another version (%s); stop its users and remove it, or "
			"set "
			"KVSHIM_DIR to another directory",
			path, what);
		break;
	case EPERM:
		snprintf(text, size,
			"segment %s belongs to another %s or lets others write; remove it or set "
			"KVSHIM_DIR to a directory of your own",
			path, joined.config.has_group ? "group" : "user");
		break;
	case EUSERS:
		snprintf(text, size,
			"segment %s has no free slot (%u processes); stop some of them", path,
			KV_COORD_SLOTS);
		break;
	case ETIMEDOUT:
		snprintf(text, size,
			"segment %s is locked by a process that does not let go; continue or stop "
			"it",
			path);
		break;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		snprintf(text, size,
			"no room for a segment of %u KiB in %s; make room or set KVSHIM_DIR to "
			"another "
			"directory",
			(unsigned)(sizeof(struct kv_coord_segment) / 1024), dir);
		break;
	case EACCES:
	case EROFS:
		snprintf(text, size,
			"cannot write to %s (%s); make it writable or set KVSHIM_DIR to another "
			"directory",
			dir, strerrordesc_np(-error));
		break;
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		snprintf(text, size,
			"%s is no directory to be used (%s); create it or set KVSHIM_DIR to "
			"another",
			dir, strerrordesc_np(-error));
		break;
	default:
		snprintf(text, size, "no segment in %s (%s); set KVSHIM_DIR to another directory",
			dir, strerrordesc_np(-error) ? strerrordesc_np(-error) : "unknown error");
	}
}

/* Several devices mostly fail for one reason: it is told once. */
static void report(int error, const uint8_t uuid[16], const char *what)
{
	char path[512] = "?", text[KV_LOG_LINE_MAX];
	bool again;

	pthread_mutex_lock(&joined.mutex);
	again = joined.last_error == error;
	joined.last_error = error;
	pthread_mutex_unlock(&joined.mutex);
	if (again)
		return;
	if (joined.config.has_group)
		kv_coord_group_path(
			joined.config.directory, joined.config.gid, uuid, path, sizeof(path));
	else
		kv_coord_path(
			joined.config.directory, (uint32_t)geteuid(), uuid, path, sizeof(path));
	explain(error, path, what, text, sizeof(text));
	kv_log(KV_LOG_ERROR, "coord", "inert: %s", text);
}

/* On an error *ret_coord is unchanged and what may say more about it. */
static int join(const uint8_t uuid[16], const char *name, uint64_t total_bytes,
	struct kv_coord **ret_coord, struct kv_ledger *ret_ledger, char *what, uint32_t what_size)
{
	struct kv_coord_request request = {
		.directory = joined.config.directory,
		.gpu_name = name,
		.gpu_total = total_bytes,
		.has_group = joined.config.has_group,
		.gid = joined.config.gid,
		.limits = joined.config.limits,
	};
	struct kv_coord *coord;
	int error;

	memcpy(request.uuid, uuid, sizeof(request.uuid));
	error = kv_coord_join(&request, &coord, what, what_size);
	if (error)
		return error;
	error = kv_coord_ledger_new(coord, &joined.config.ledger, ret_ledger);
	if (error) {
		kv_coord_leave(coord);
		return error;
	}
	pthread_mutex_lock(&joined.mutex);
	if (joined.n_places < DEVICES_MAX) {
		memcpy(joined.places[joined.n_places].uuid, uuid, sizeof(request.uuid));
		joined.places[joined.n_places++].coord = coord;
	} else {
		error = -EUSERS;
	}
	pthread_mutex_unlock(&joined.mutex);
	if (error) {
		kv_coord_leave(coord);
		return error;
	}
	*ret_coord = coord;
	return 0;
}

int kv_segment_join(void *ctx, const uint8_t uuid[16], const char *name, uint64_t total_bytes,
	struct kv_stats_sink *ret_sink)
{
	struct kv_coord *coord;
	char what[128] = "";
	struct kv_ledger ledger;
	int error = join(uuid, name, total_bytes, &coord, &ledger, what, sizeof(what));

	if (error) {
		report(error, uuid, what);
		return error;
	}
	kv_log(KV_LOG_DEBUG, "coord", "slot %u of %s", kv_coord_slot_index(coord),
		name ? name : "?");
	ret_sink->ctx = coord;
	ret_sink->ledger = ledger;
	ret_sink->process = put_process;
	ret_sink->reservation = put_row;
	ret_sink->activity = kv_serve_activity;
	ret_sink->turn = kv_serve_turn;
	ret_sink->limits = get_limits;
	ret_sink->doorbell = kv_coord_doorbell(coord);
	return 0;
}

void kv_segment_inert(
	void *ctx, const uint8_t uuid[16], const char *name, uint64_t total_bytes, const char *note)
{
	struct kv_coord *coord = NULL;
	struct kv_ledger ledger;

	pthread_mutex_lock(&joined.mutex);
	for (unsigned i = 0; i < joined.n_places; i++)
		if (memcmp(joined.places[i].uuid, uuid, sizeof(joined.places[i].uuid)) == 0)
			coord = joined.places[i].coord;
	pthread_mutex_unlock(&joined.mutex);
	/* The operator has had the line; that readers cannot have it too is worth no second one. */
	if (!coord && join(uuid, name, total_bytes, &coord, &ledger, NULL, 0) != 0)
		return;
	kv_coord_put_state(coord, KV_COORD_INERT, note);
}

void kv_segment_leave_all(void)
{
	pthread_mutex_lock(&joined.mutex);
	while (joined.n_places)
		kv_coord_leave(joined.places[--joined.n_places].coord);
	pthread_mutex_unlock(&joined.mutex);
}

void kv_segment_forget_all(void)
{
	/* the child's only thread: nobody can hold the mutex now, whatever it says */
	pthread_mutex_init(&joined.mutex, NULL);
	for (unsigned i = 0; i < joined.n_places; i++)
		kv_coord_forget(joined.places[i].coord);
	joined.n_places = 0;
}
