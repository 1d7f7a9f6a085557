/* SPDX-License-Identifier: Apache-2.0 */
/* record.c - `kvshim record`: samples into a file, while a command runs under kvshim. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/command/target.h"
#include "stat/record.h"

#define INTERVAL_MS 1000
#define INTERVAL_MIN_MS 10
#define INTERVAL_MAX_MS (24 * 3600 * 1000)
#define WORDS 6 /* in front of the command's own, and the NULL behind them */

/* Words of "kvshim run --dir DIR -- COMMAND ...". Free it; NULL: no memory. */
static char **run_words(const struct kv_call *call, char *self, char *directory)
{
	char **words = calloc(WORDS + call->n_operands, sizeof(*words));
	uint32_t n = 0;

	if (!words)
		return NULL;
	words[n++] = self;
	words[n++] = "run";
	words[n++] = "--dir";
	words[n++] = directory;
	words[n++] = "--";
	for (uint32_t i = 1; i < call->n_operands; i++)
		words[n++] = call->operands[i];
	return words;
}

int kv_command_record(const struct kv_call *call)
{
	char self[PATH_MAX] = "kvshim", *directory = strdup(kv_call_directory(call));
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int64_t interval_ms = INTERVAL_MS;
	struct kv_record record = {
		.directory = directory, .file = call->operands[0], .who = "kvshim record"};
	int status = KV_EXIT_ARGUMENTS;

	if (length > 0)
		self[length] = '\0';
	if (!kv_target_number(call, "interval", KV_OPTION_MS, INTERVAL_MIN_MS, INTERVAL_MAX_MS,
		    NULL, 0, &interval_ms))
		goto free_directory;
	record.interval_ms = (uint64_t)interval_ms;
	if (directory && call->n_operands > 1)
		record.command = run_words(call, self, directory);
	if (!directory || (call->n_operands > 1 && !record.command))
		status = kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
	else
		status = kv_record_run(&record);
	free(record.command);
free_directory:
	free(directory);
	return status;
}
