/* SPDX-License-Identifier: Apache-2.0 */
/* ps.c - `kvshim ps`: a line per process and GPU; kvshim-stat tells the rest. */
#include <inttypes.h>
#include <stdio.h>

#include "shim/command/command.h"
#include "shim/json.h"
#include "stat/format.h"
#include "stat/reader.h"

static const struct {
	const char *name;
	enum kv_process_metric metric;
} shown[] = {{"reserved", KV_PROCESS_RESERVED}, {"backed", KV_PROCESS_BACKED},
	{"evicted", KV_PROCESS_EVICTED}, {"spilled", KV_PROCESS_SPILLED}};

#define N_SHOWN (sizeof(shown) / sizeof(shown[0]))

static void print_line(const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	char name[20], user[12], size[KV_TEXT];

	printf("%8d  %-10s %-16s %-8s %.8s", process->pid,
		kv_format_clean(process->user, user, sizeof(user)),
		kv_format_clean(process->name, name, sizeof(name)),
		kv_stat_state_word(process->state), segment->uuid);
	for (size_t i = 0; i < N_SHOWN; i++)
		printf(" %9s", process->problem[0]
				       ? "?"
				       : kv_format_size(process->value[shown[i].metric], size));
	putchar('\n');
}

static void print_object(
	const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	printf("\n {\"pid\":%d,\"uid\":%u,", process->pid, process->uid);
	kv_json_member(stdout, "user", process->user);
	putchar(',');
	kv_json_member(stdout, "name", process->name);
	putchar(',');
	kv_json_member(stdout, "state", kv_stat_state_word(process->state));
	putchar(',');
	kv_json_member(stdout, "gpu", segment->uuid);
	for (size_t i = 0; i < N_SHOWN; i++) {
		uint64_t value = process->problem[0] ? KV_UNKNOWN : process->value[shown[i].metric];

		printf(",\"%s_bytes\":", shown[i].name);
		if (value == KV_UNKNOWN)
			fputs("null", stdout);
		else
			printf("%" PRIu64, value);
	}
	putchar(',');
	kv_json_member(stdout, "problem", process->problem[0] ? process->problem : NULL);
	putchar('}');
}

static void tell_problems(const struct kv_call *call, const struct kv_stat *stat)
{
	if (stat->problem[0])
		kv_command_fail(call, KV_EXIT_FAILED, "%s: %s", stat->directory, stat->problem);
	for (uint32_t i = 0; i < stat->n_segments; i++)
		if (stat->segments[i].problem[0])
			kv_command_fail(call, KV_EXIT_FAILED, "%s: %s", stat->segments[i].path,
				stat->segments[i].problem);
}

int kv_command_ps(const struct kv_call *call)
{
	struct kv_stat_clock clock = kv_stat_clock_now();
	bool json = kv_call_value(call, "json");
	struct kv_stat stat;
	const char *comma = "";
	int status;

	if (kv_stat_read(kv_call_directory(call), &clock, &stat) != 0)
		return kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
	if (json)
		fputs("{\"processes\":[", stdout);
	else
		printf("%8s  %-10s %-16s %-8s %-8s %9s %9s %9s %9s\n", "PID", "USER", "NAME",
			"STATE", "GPU", "RESERVED", "BACKED", "EVICTED", "SPILLED");
	for (uint32_t i = 0; i < stat.n_segments; i++)
		for (uint32_t j = 0; j < stat.segments[i].n_processes; j++) {
			if (json) {
				fputs(comma, stdout);
				print_object(&stat.segments[i], &stat.segments[i].processes[j]);
				comma = ",";
			} else {
				print_line(&stat.segments[i], &stat.segments[i].processes[j]);
			}
		}
	if (json)
		puts("]}");
	tell_problems(call, &stat);
	status = kv_stat_has_problem(&stat) ? KV_EXIT_FAILED : KV_EXIT_OK;
	kv_stat_free(&stat);
	return status;
}
