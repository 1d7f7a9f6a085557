/* SPDX-License-Identifier: Apache-2.0 */
/* run.c - `kvshim run`: sets LD_PRELOAD and the options, then becomes the command. */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim/command/command.h"
#include "shim/command/engine.h"
#include "shim/command/library.h"
#include "shim/json.h"

/* A variable that is set for the command, and who wants it. */
struct setting {
	char name[64];
	const char *value;
	const char *source; /* "flag" or the engine's name */
};

struct plan {
	const struct kv_engine *engine; /* or NULL */
	char *preload;                  /* owned */
	char *engine_words;             /* owned; the settings of the engine, cut into words */
	struct setting settings[2 * KV_OPT_COUNT];
	unsigned n_settings;
};

static int check_options(const struct kv_call *call)
{
	char range[160];

	for (int i = 0; i < KV_OPT_COUNT; i++) {
		const char *value = call->options[i];

		if (!value || !value[0] || kv_option_parse(&kv_options[i], value, NULL) == 0)
			continue;
		kv_option_describe_range(&kv_options[i], range, sizeof(range));
		return kv_command_fail(call, KV_EXIT_ARGUMENTS, "%.60s is no value for %s: give %s",
			value, kv_options[i].name, range);
	}
	return 0;
}

static void add_setting(struct plan *plan, const char *name, const char *value, const char *source)
{
	struct setting *setting = &plan->settings[plan->n_settings];

	if (plan->n_settings == sizeof(plan->settings) / sizeof(plan->settings[0]))
		return;
	snprintf(setting->name, sizeof(setting->name), "%s", name);
	setting->value = value;
	setting->source = source;
	plan->n_settings++;
}

/* The environment and the flags go before what the engine's row proposes. */
static int plan_engine(struct plan *plan, const struct kv_call *call)
{
	char *at, *word;

	if (!plan->engine)
		return 0;
	plan->engine_words = strdup(plan->engine->settings);
	if (!plan->engine_words)
		return -ENOMEM;
	for (at = plan->engine_words; (word = strsep(&at, " "));) {
		char *value = strchr(word, '=');
		enum kv_option_id id;

		if (!value)
			continue;
		*value++ = '\0';
		id = kv_option_find(word);
		if (!getenv(word) && (id == KV_OPT_COUNT || !call->options[id]))
			add_setting(plan, word, value, plan->engine->name);
	}
	return 0;
}

static int choose_engine(const struct kv_call *call, struct plan *plan)
{
	const char *name = kv_call_value(call, "engine");
	char known[256] = "";

	if (!name || strcmp(name, "auto") == 0) {
		plan->engine = kv_engine_detect(call->operands);
		return 0;
	}
	if (strcmp(name, "none") == 0)
		return 0;
	plan->engine = kv_engine_find(name);
	if (plan->engine)
		return 0;
	for (unsigned i = 0; kv_engine_at(i); i++) {
		const char *other = kv_engine_at(i)->name;
		size_t used = strlen(known);

		if (kv_engine_find(other) == kv_engine_at(i))
			snprintf(known + used, sizeof(known) - used, ", %s", other);
	}
	return kv_command_fail(
		call, KV_EXIT_ARGUMENTS, "%.40s is no engine: give auto, none%s", name, known);
}

static int choose_library(const struct kv_call *call, struct plan *plan)
{
	const char *given = kv_call_value(call, "lib");
	char library[PATH_MAX];

	if (given && !realpath(given, library))
		return kv_command_fail(call, KV_EXIT_ARGUMENTS, "there is no library %s", given);
	if (!given && !kv_library_find(library))
		return kv_command_fail(call, KV_EXIT_FAILED,
			"cannot find " KV_LIBRARY "; name it with --lib PATH");
	if (strpbrk(library, ": "))
		return kv_command_fail(call, KV_EXIT_FAILED,
			"the loader takes no library with a space or a colon in its path: %s",
			library);
	plan->preload = kv_library_preload(library, getenv("LD_PRELOAD"));
	return plan->preload ? 0 : kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
}

static int make_plan(const struct kv_call *call, struct plan *plan)
{
	int status = check_options(call);

	if (!status)
		status = choose_engine(call, plan);
	if (!status)
		status = choose_library(call, plan);
	if (status)
		return status;
	for (int i = 0; i < KV_OPT_COUNT; i++)
		if (call->options[i])
			add_setting(plan, kv_options[i].name, call->options[i], "flag");
	if (plan_engine(plan, call))
		return kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
	return 0;
}

static void show_plan(const struct plan *plan, FILE *out, const char *before)
{
	fprintf(out, "%sLD_PRELOAD=%s\n", before, plan->preload);
	for (unsigned i = 0; i < plan->n_settings; i++)
		fprintf(out, "%s%s=%s (%s)\n", before, plan->settings[i].name,
			plan->settings[i].value, plan->settings[i].source);
	if (plan->engine)
		fprintf(out, "%sengine %s: %s\n", before, plan->engine->name,
			plan->engine->sentence);
	else
		fprintf(out, "%sengine: none that is known\n", before);
}

static void show_plan_json(const struct kv_call *call, const struct plan *plan)
{
	fputs("{\"command\":[", stdout);
	for (uint32_t i = 0; i < call->n_operands; i++) {
		fputs(i ? "," : "", stdout);
		kv_json_string(stdout, call->operands[i]);
	}
	fputs("],", stdout);
	kv_json_member(stdout, "engine", plan->engine ? plan->engine->name : NULL);
	fputs(",\"environment\":{", stdout);
	kv_json_member(stdout, "LD_PRELOAD", plan->preload);
	for (unsigned i = 0; i < plan->n_settings; i++) {
		putchar(',');
		kv_json_member(stdout, plan->settings[i].name, plan->settings[i].value);
	}
	puts("}}");
}

static int apply(const struct kv_call *call, const struct plan *plan)
{
	if (setenv("LD_PRELOAD", plan->preload, 1) != 0)
		return kv_command_fail(
			call, KV_EXIT_FAILED, "cannot set LD_PRELOAD: %s", strerror(errno));
	for (unsigned i = 0; i < plan->n_settings; i++)
		if (setenv(plan->settings[i].name, plan->settings[i].value, 1) != 0)
			return kv_command_fail(call, KV_EXIT_FAILED, "cannot set %s: %s",
				plan->settings[i].name, strerror(errno));
	return 0;
}

/*
 * The preloaded library cannot say that there is no driver: nobody would call it. Only the loader
 * knows all the places where it may be. Its constructors talk to no device.
 */
static void warn_without_driver(const char *command)
{
	if (!dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
		fprintf(stderr,
			"kvshim run: the loader finds no libcuda.so.1 here; %s runs without a GPU "
			"unless it brings a driver along\n",
			command);
}

int kv_command_run(const struct kv_call *call)
{
	struct plan plan = {0};
	int status = make_plan(call, &plan);

	if (status)
		goto free_plan;
	if (kv_call_value(call, "dry-run")) {
		if (kv_call_value(call, "json"))
			show_plan_json(call, &plan);
		else
			show_plan(&plan, stdout, "");
		goto free_plan;
	}
	if (kv_call_value(call, "verbose"))
		show_plan(&plan, stderr, "kvshim run: ");
	status = apply(call, &plan);
	if (status)
		goto free_plan;
	warn_without_driver(call->operands[0]);
	execvp(call->operands[0], call->operands);
	status = errno == ENOENT ? 127 : 126;
	kv_command_fail(call, status, "cannot run %s: %s", call->operands[0], strerror(errno));

free_plan:
	free(plan.preload);
	free(plan.engine_words);
	return status;
}
