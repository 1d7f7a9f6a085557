/* SPDX-License-Identifier: Apache-2.0 */
/* target.c - see target.h. */
#include "shim/command/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool kv_target_pid(const struct kv_call *call, const char *text, int32_t *ret_pid)
{
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || pid < 1 || pid > INT32_MAX) {
		kv_command_fail(call, KV_EXIT_ARGUMENTS,
			"%.40s is no process id; `kvshim ps` lists them", text);
		return false;
	}
	*ret_pid = (int32_t)pid;
	return true;
}

static int visit_slot(struct kv_target *target, struct kv_coord *coord, uint32_t slot, int32_t pid)
{
	int status = target->slot(target, coord, slot, pid);

	target->n_slots++;
	if (!target->status)
		target->status = status;
	return 0;
}

static int visit_segment(void *ctx, struct kv_coord *coord, const char *path)
{
	const struct kv_coord_segment *segment = kv_coord_segment(coord);
	struct kv_target *target = ctx;
	uint32_t slot;

	if (target->pid) {
		if (kv_coord_find_pid(coord, target->pid, &slot) == 0)
			return visit_slot(target, coord, slot, target->pid);
		return 0;
	}
	for (slot = 0; slot < KV_COORD_SLOTS; slot++)
		if (__atomic_load_n(&segment->slots[slot].state, __ATOMIC_ACQUIRE) ==
			KV_COORD_ACTIVE)
			visit_slot(target, coord, slot, segment->slots[slot].owner_pid);
	return 0;
}

int kv_target_visit(struct kv_target *target)
{
	struct kv_segments_visit visit = {.directory = kv_call_directory(target->call),
		.gpu = kv_call_value(target->call, "gpu"),
		.segment = visit_segment,
		.ctx = target};
	uint32_t before = target->n_slots;
	char who[32] = "process";
	int error = kv_segments_visit(&visit);

	if (target->pid)
		snprintf(who, sizeof(who), "process %d", target->pid);
	if (error)
		return kv_command_fail(
			target->call, KV_EXIT_FAILED, "%s: %s", visit.directory, strerror(-error));
	if (target->n_slots > before)
		return target->status;
	if (visit.problem[0])
		return kv_command_fail(
			target->call, KV_EXIT_FAILED, "no %s under kvshim; %s", who, visit.problem);
	return kv_command_fail(target->call, KV_EXIT_FAILED,
		"no %s under kvshim in %s%s%s; `kvshim ps` lists them", who, visit.directory,
		visit.gpu ? " on a GPU " : "", visit.gpu ? visit.gpu : "");
}

bool kv_target_number(const struct kv_call *call, const char *flag, enum kv_option_type type,
	int64_t low, int64_t high, const char *word, int64_t word_value, int64_t *ret_number)
{
	const struct kv_option option = {.name = flag,
		.type = type,
		.low = low,
		.high = high,
		.word = word,
		.word_value = word_value};
	const char *text = kv_call_value(call, flag);
	char range[160];

	if (!text || kv_option_parse(&option, text, ret_number) == 0)
		return true;
	kv_option_describe_range(&option, range, sizeof(range));
	kv_command_fail(
		call, KV_EXIT_ARGUMENTS, "%.40s is no value for --%s: give %s", text, flag, range);
	return false;
}
