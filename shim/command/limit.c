/* SPDX-License-Identifier: Apache-2.0 */
/* limit.c - `kvshim limit`: shows and changes what a process may hold. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shim/command/target.h"
#include "shim/json.h"
#include "stat/format.h"

#define IDLE_MS_MAX (24 * 3600 * 1000)

struct change {
	struct kv_coord_limits limits;
	uint32_t mask;
	bool json;
	const char *comma;
};

static const char *explain(int error)
{
	switch (-error) {
	case EINVAL:
		return "the minimum would be above the maximum";
	case ESRCH:
		return "it has just ended";
	case ETIMEDOUT:
		return "somebody holds the segment's lock and does not let go";
	case EPROTO:
		return "the segment is damaged";
	default:
		return strerror(-error);
	}
}

static const char *size_or_none(uint64_t bytes, char text[KV_TEXT])
{
	return bytes == KV_COORD_NO_LIMIT ? "none" : kv_format_size(bytes, text);
}

static void print_json(
	struct change *change, const char *uuid, int32_t pid, const struct kv_coord_limits *limits)
{
	printf("%s\n {\"pid\":%d,", change->comma, pid);
	kv_json_member(stdout, "gpu", uuid);
	printf(",\"min_bytes\":%" PRIu64 ",\"max_bytes\":", limits->min);
	if (limits->max == KV_COORD_NO_LIMIT)
		fputs("null", stdout);
	else
		printf("%" PRIu64, limits->max);
	printf(",\"host_budget_bytes\":%" PRIu64 ",\"weight\":%u,\"idle_ms\":%u}",
		limits->host_budget, limits->weight, limits->idle_ms);
	change->comma = ",";
}

static void print_text(const char *uuid, int32_t pid, const struct kv_coord_limits *limits)
{
	char min[KV_TEXT], max[KV_TEXT], host[KV_TEXT], idle[32] = "never";

	if (limits->idle_ms)
		snprintf(idle, sizeof(idle), "%u ms", limits->idle_ms);
	printf("%d on GPU %s: min %s, max %s, host budget %s, weight %u, idle after %s\n", pid,
		uuid, kv_format_size(limits->min, min), size_or_none(limits->max, max),
		kv_format_size(limits->host_budget, host), limits->weight, idle);
}

static int limit_slot(struct kv_target *target, struct kv_coord *coord, uint32_t slot, int32_t pid)
{
	struct change *change = target->ctx;
	struct kv_coord_limits limits;
	char uuid[37];
	int error = 0;

	kv_segments_uuid(coord, uuid);
	if (change->mask)
		error = kv_coord_set_limits(coord, slot, &change->limits, change->mask);
	if (!error)
		error = kv_coord_limits(coord, slot, &limits, NULL);
	if (error)
		return kv_command_fail(target->call, KV_EXIT_FAILED, "%d on GPU %s: %s", pid, uuid,
			explain(error));
	if (change->json)
		print_json(change, uuid, pid, &limits);
	else
		print_text(uuid, pid, &limits);
	return KV_EXIT_OK;
}

static bool read_change(const struct kv_call *call, struct change *change)
{
	static const struct {
		const char *flag;
		uint32_t mask;
	} flags[] = {{"min", KV_COORD_LIMIT_MIN}, {"max", KV_COORD_LIMIT_MAX},
		{"host-budget", KV_COORD_LIMIT_HOST_BUDGET}, {"weight", KV_COORD_LIMIT_WEIGHT},
		{"idle", KV_COORD_LIMIT_IDLE_MS}};
	int64_t min = 0, max = 0, host = 0, weight = 0, idle = 0;

	if (!kv_target_number(call, "min", KV_OPTION_BYTES, 0, INT64_MAX, "none", 0, &min) ||
		!kv_target_number(call, "max", KV_OPTION_BYTES, 0, INT64_MAX, "none", -1, &max) ||
		!kv_target_number(
			call, "host-budget", KV_OPTION_BYTES, 0, INT64_MAX, "none", 0, &host) ||
		!kv_target_number(call, "weight", KV_OPTION_COUNT, 1, KV_COORD_WEIGHT_MAX, NULL, 0,
			&weight) ||
		!kv_target_number(call, "idle", KV_OPTION_MS, 1, IDLE_MS_MAX, "never", 0, &idle))
		return false;
	change->limits = (struct kv_coord_limits){.min = (uint64_t)min,
		.max = (uint64_t)max, /* -1 is KV_COORD_NO_LIMIT */
		.host_budget = (uint64_t)host,
		.weight = (uint32_t)weight,
		.idle_ms = (uint32_t)idle};
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (kv_call_value(call, flags[i].flag))
			change->mask |= flags[i].mask;
	return true;
}

int kv_command_limit(const struct kv_call *call)
{
	struct change change = {.json = kv_call_value(call, "json") != NULL, .comma = ""};
	struct kv_target target = {.call = call, .slot = limit_slot, .ctx = &change};
	int status;

	if (!kv_target_pid(call, call->operands[0], &target.pid) || !read_change(call, &change))
		return KV_EXIT_ARGUMENTS;
	if (change.json)
		fputs("{\"processes\":[", stdout);
	status = kv_target_visit(&target);
	if (change.json)
		puts("]}");
	return status;
}
