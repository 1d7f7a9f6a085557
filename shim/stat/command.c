/* SPDX-License-Identifier: Apache-2.0 */
/* command.c - see command.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include "core/coord.h"
#include "stat/command.h"
#include "stat/format.h"

void kv_command_make(struct kv_command *command, enum kv_command_kind kind,
	const struct kv_stat_segment *segment, const struct kv_stat_process *process)
{
	memset(command, 0, sizeof(*command));
	command->kind = kind;
	memcpy(command->path, segment->path, sizeof(command->path));
	command->slot_index = process->slot_index;
	command->generation = process->generation;
	command->pid = process->pid;
	kv_format_clean(process->name, command->name, sizeof(command->name));
}

/* "4096", "64M", "1.5G"; "none" is no limit. */
static int read_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGTP";
	const char *unit;
	double number;
	char *end;

	if (strcmp(text, "none") == 0) {
		*ret_bytes = KV_COORD_NO_LIMIT;
		return 0;
	}
	number = strtod(text, &end);
	if (end == text || !(number >= 0))
		return -EINVAL;
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	if (*end && (!unit || end[1]))
		return -EINVAL;
	for (int i = 0; unit && i <= unit - units; i++)
		number *= 1024;
	if (number > (double)(1ull << 60))
		return -EINVAL;
	*ret_bytes = (uint64_t)number;
	return 0;
}

/* "60s", "500ms", "2m"; "never" is 0. */
static int read_idle(const char *text, uint32_t *ret_ms)
{
	double number;
	char *end;

	if (strcmp(text, "never") == 0) {
		*ret_ms = 0;
		return 0;
	}
	number = strtod(text, &end);
	if (end == text || !(number > 0))
		return -EINVAL;
	if (strcmp(end, "s") == 0)
		number *= 1000;
	else if (strcmp(end, "m") == 0)
		number *= 60000;
	else if (strcmp(end, "ms") != 0)
		return -EINVAL;
	if (number < 1 || number > 86400000)
		return -EINVAL;
	*ret_ms = (uint32_t)number;
	return 0;
}

static int read_weight(const char *text, uint32_t *ret_weight)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (end == text || *end || text[0] == '-' || !number || number > KV_COORD_WEIGHT_MAX)
		return -EINVAL;
	*ret_weight = (uint32_t)number;
	return 0;
}

static int read_word(struct kv_command *command, const char *key, const char *value)
{
	struct kv_coord_limits *limits = &command->limits;

	if (strcmp(key, "min") == 0) {
		command->mask |= KV_COORD_LIMIT_MIN;
		return strcmp(value, "none") == 0 ? -EINVAL : read_size(value, &limits->min);
	}
	if (strcmp(key, "max") == 0) {
		command->mask |= KV_COORD_LIMIT_MAX;
		return read_size(value, &limits->max);
	}
	if (strcmp(key, "host") == 0) {
		command->mask |= KV_COORD_LIMIT_HOST_BUDGET;
		return strcmp(value, "none") == 0 ? -EINVAL
						  : read_size(value, &limits->host_budget);
	}
	if (strcmp(key, "weight") == 0) {
		command->mask |= KV_COORD_LIMIT_WEIGHT;
		return read_weight(value, &limits->weight);
	}
	if (strcmp(key, "idle") == 0) {
		command->mask |= KV_COORD_LIMIT_IDLE_MS;
		return read_idle(value, &limits->idle_ms);
	}
	return -EINVAL;
}

int kv_command_read_limits(
	struct kv_command *command, const char *words, char *text, uint32_t text_size)
{
	char copy[128], *rest = copy, *word, *value;

	command->mask = 0;
	snprintf(copy, sizeof(copy), "%s", words);
	while ((word = strsep(&rest, " ,"))) {
		if (!*word)
			continue;
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (!value || read_word(command, word, value) != 0) {
			snprintf(text, text_size,
				"%s%s%s: write min=1G max=8G weight=200 host=4G idle=60s", word,
				value ? "=" : "", value ? value : "");
			return -EINVAL;
		}
	}
	if (!command->mask) {
		snprintf(text, text_size, "nothing was changed");
		return -EINVAL;
	}
	return 0;
}

static void put_change(const struct kv_command *command, uint32_t bit, const char *value,
	char *text, uint32_t size)
{
	size_t length = strlen(text);

	if (command->mask & bit)
		snprintf(text + length, size - length, " %s", value);
}

void kv_command_ask(const struct kv_command *command, char *text, uint32_t text_size)
{
	const struct kv_coord_limits *limits = &command->limits;
	char value[48], size[KV_TEXT];

	if (command->kind != KV_COMMAND_LIMITS) {
		snprintf(text, text_size, "%s %d %s?",
			command->kind == KV_COMMAND_EVICT ? "evict to host memory:" : "restore:",
			(int)command->pid, command->name);
		return;
	}
	snprintf(text, text_size, "set for %d %s:", (int)command->pid, command->name);
	snprintf(value, sizeof(value), "min %s", kv_format_size(limits->min, size));
	put_change(command, KV_COORD_LIMIT_MIN, value, text, text_size);
	snprintf(value, sizeof(value), "max %s",
		limits->max == KV_COORD_NO_LIMIT ? "none" : kv_format_size(limits->max, size));
	put_change(command, KV_COORD_LIMIT_MAX, value, text, text_size);
	snprintf(value, sizeof(value), "weight %u", limits->weight);
	put_change(command, KV_COORD_LIMIT_WEIGHT, value, text, text_size);
	snprintf(value, sizeof(value), "host %s", kv_format_size(limits->host_budget, size));
	put_change(command, KV_COORD_LIMIT_HOST_BUDGET, value, text, text_size);
	snprintf(value, sizeof(value), "idle %s",
		limits->idle_ms ? kv_format_age(limits->idle_ms, size) : "never");
	put_change(command, KV_COORD_LIMIT_IDLE_MS, value, text, text_size);
}

void kv_command_send(const struct kv_command *command, char *text, uint32_t text_size)
{
	const struct kv_coord_slot *slot;
	struct kv_coord *coord;
	char why[128] = "";
	uint32_t ticket;
	int error = kv_coord_attach(command->path, &coord, why, sizeof(why));

	if (error) {
		snprintf(text, text_size, "not done: %s", why[0] ? why : strerror(-error));
		return;
	}
	slot = &kv_coord_segment(coord)->slots[command->slot_index];
	/* between the question and the answer the process may have gone and another come */
	if (__atomic_load_n(&slot->generation, __ATOMIC_ACQUIRE) != command->generation)
		error = -ESRCH;
	else if (command->kind == KV_COMMAND_LIMITS)
		error = kv_coord_set_limits(
			coord, command->slot_index, &command->limits, command->mask);
	else
		error = kv_coord_post(coord, command->slot_index,
			command->kind == KV_COMMAND_EVICT ? KV_COORD_EVICT : KV_COORD_RESTORE,
			KV_COORD_NO_LIMIT, NULL, &ticket);
	kv_coord_detach(coord);
	if (error == -ESRCH)
		snprintf(text, text_size, "not done: %d has gone", (int)command->pid);
	else if (error == -EINVAL)
		snprintf(text, text_size, "not done: the minimum would be above the maximum");
	else if (error)
		snprintf(text, text_size, "not done: %s", strerror(-error));
	else
		snprintf(text, text_size, "%s",
			command->kind == KV_COMMAND_LIMITS ? "the limits are set"
			: command->kind == KV_COMMAND_EVICT
				? "eviction was asked for; its state will tell"
				: "restoring was asked for; its state will tell");
}
