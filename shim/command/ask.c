/* SPDX-License-Identifier: Apache-2.0 */
/* ask.c - `kvshim evict`, `restore`, `pause` and `resume`: asks processes and tells their answers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shim/command/target.h"
#include "shim/json.h"
#include "stat/format.h"

#define WAIT_S 10
#define WAIT_MAX_S (24 * 3600)
#define TAG_MAX 31

struct asking {
	enum kv_coord_command_kind kind;
	uint64_t bytes;
	const char *tag;
	uint64_t wait_ns; /* 0: no */
	bool json;
	const char *comma;
};

static const char *const done[] = {[KV_COORD_EVICT] = "moved to host memory",
	[KV_COORD_RESTORE] = "moved back",
	[KV_COORD_RECLAIM] = "given back",
	[KV_COORD_PAUSE] = "moved to host memory and kept there",
	[KV_COORD_RESUME] = "may be moved back"};

static const char *explain(int error)
{
	switch (-error) {
	case EBUSY:
	case EAGAIN:
		return "it is busy: work in flight that does not end, or a capture; try again";
	case ENOENT:
		return "it has no reservation with this tag";
	case ENOMEM:
		return "there is no memory for it: of the host, or of the device within its "
		       "maximum";
	case ENOSPC:
		return "there is no device memory for it";
	case EOPNOTSUPP:
		return "its version of kvshim cannot do this";
	case ESRCH:
		return "it has ended or its shim is inert";
	case ETIMEDOUT:
		return "it has not answered yet; the request stands";
	case EPROTO:
		return "the segment is damaged";
	default:
		return strerror(-error);
	}
}

static void tell(struct kv_target *target, const char *uuid, int32_t pid, int64_t moved, int error)
{
	struct asking *asking = target->ctx;
	char text[KV_TEXT];

	if (asking->json) {
		printf("%s\n {\"pid\":%d,", asking->comma, pid);
		kv_json_member(stdout, "gpu", uuid);
		fputs(",\"moved_bytes\":", stdout);
		if (error || !asking->wait_ns)
			fputs("null,", stdout);
		else
			printf("%" PRId64 ",", moved);
		kv_json_member(stdout, "error", error ? explain(error) : NULL);
		putchar('}');
		asking->comma = ",";
	} else if (!error && !asking->wait_ns) {
		printf("%d on GPU %s: asked\n", pid, uuid);
	} else if (!error) {
		printf("%d on GPU %s: %s %s\n", pid, uuid, kv_format_size((uint64_t)moved, text),
			done[asking->kind]);
	}
}

static int ask_slot(struct kv_target *target, struct kv_coord *coord, uint32_t slot, int32_t pid)
{
	struct asking *asking = target->ctx;
	int64_t moved = 0;
	uint32_t ticket;
	char uuid[37];
	int error;

	kv_segments_uuid(coord, uuid);
	error = kv_coord_post(coord, slot, asking->kind, asking->bytes, asking->tag, &ticket);
	if (!error && asking->wait_ns)
		error = kv_coord_wait(coord, slot, asking->kind, ticket, asking->wait_ns, &moved);
	if (!error && moved < 0)
		error = moved > -4096 ? (int)moved : -EPROTO;
	tell(target, uuid, pid, moved, error);
	if (error)
		return kv_command_fail(target->call, KV_EXIT_FAILED, "%d on GPU %s: %s", pid, uuid,
			explain(error));
	return KV_EXIT_OK;
}

/* Every process that is named, or all of them. */
static int ask_all(struct kv_target *target, char **pids, uint32_t n)
{
	struct asking *asking = target->ctx;
	int status = KV_EXIT_OK, one;
	int32_t pid;

	for (uint32_t i = 0; i < n; i++)
		if (!kv_target_pid(target->call, pids[i], &pid))
			return KV_EXIT_ARGUMENTS;
	if (asking->json)
		fputs("{\"answers\":[", stdout);
	if (!n)
		status = kv_target_visit(target);
	for (uint32_t i = 0; i < n; i++) {
		kv_target_pid(target->call, pids[i], &target->pid);
		target->status = KV_EXIT_OK;
		one = kv_target_visit(target);
		status = status ? status : one;
	}
	if (asking->json)
		puts("]}");
	return status;
}

static int ask(const struct kv_call *call, enum kv_coord_command_kind kind, bool takes_tag)
{
	struct asking asking = {.kind = kind,
		.bytes = KV_COORD_NO_LIMIT,
		.json = kv_call_value(call, "json") != NULL,
		.comma = ""};
	struct kv_target target = {.call = call, .slot = ask_slot, .ctx = &asking};
	bool all = !takes_tag && kv_call_value(call, "all");
	int64_t wait_s = WAIT_S, bytes = -1;

	if (!kv_target_number(call, "wait", KV_OPTION_COUNT, 0, WAIT_MAX_S, NULL, 0, &wait_s) ||
		!kv_target_number(call, "bytes", KV_OPTION_BYTES, 1, INT64_MAX, "all", -1, &bytes))
		return KV_EXIT_ARGUMENTS;
	asking.wait_ns = (uint64_t)wait_s * 1000000000ull;
	asking.bytes = (uint64_t)bytes; /* -1 is KV_COORD_NO_LIMIT */
	if (takes_tag) {
		asking.tag = call->operands[0];
		if (!asking.tag[0] || strlen(asking.tag) > TAG_MAX)
			return kv_command_fail(
				call, KV_EXIT_ARGUMENTS, "a tag has 1 to %d characters", TAG_MAX);
		return ask_all(&target, call->operands + 1, call->n_operands - 1);
	}
	if (all == (call->n_operands > 0))
		return kv_command_fail(call, KV_EXIT_ARGUMENTS,
			all ? "give process ids or --all, not both"
			    : "give process ids or --all; `kvshim ps` lists them");
	return ask_all(&target, call->operands, call->n_operands);
}

int kv_command_evict(const struct kv_call *call)
{
	return ask(call, KV_COORD_EVICT, false);
}

int kv_command_restore(const struct kv_call *call)
{
	return ask(call, KV_COORD_RESTORE, false);
}

int kv_command_pause(const struct kv_call *call)
{
	return ask(call, KV_COORD_PAUSE, true);
}

int kv_command_resume(const struct kv_call *call)
{
	return ask(call, KV_COORD_RESUME, true);
}
