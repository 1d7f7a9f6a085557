/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - from an environment to values with sources; see config.h. */
#include "shim/config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "KVSHIM"
#define UNKNOWN_MAX 8 /* complaints about names */
#define SHOWN_MAX 48  /* characters of a wrong value that are shown */

static const char *env_find(char *const *env, const char *name)
{
	size_t length = strlen(name);

	for (; env && *env; env++)
		if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
			return *env + length + 1;
	return NULL;
}

static void complain_value(const struct kv_option *option, const char *text, int error,
	kv_complain_fn complain, void *ctx)
{
	char range[128], line[384];

	if (!complain)
		return;
	kv_option_describe_range(option, range, sizeof(range));
	snprintf(line, sizeof(line), "%s=%.*s%s is %s; using %s%s: give %s", option->name,
		SHOWN_MAX, text, strlen(text) > SHOWN_MAX ? "..." : "",
		error == -ERANGE ? "out of range" : "not understood",
		option->standard[0] ? "the default " : "none, the default",
		option->standard[0] ? option->standard : "", range);
	complain(ctx, line);
}

static int read_option(struct kv_option_value *value, const struct kv_option *option,
	const char *text, kv_complain_fn complain, void *ctx)
{
	int error;

	/* Set and empty is the same as not set: that is how a shell says "none" */
	if (text && text[0]) {
		error = kv_option_parse(option, text, &value->number);
		if (!error) {
			value->owned = strdup(text);
			if (!value->owned)
				return -ENOMEM;
			value->text = value->owned;
			value->source = KV_SOURCE_ENVIRONMENT;
			return 0;
		}
		value->source = KV_SOURCE_REJECTED;
		complain_value(option, text, error, complain, ctx);
	}
	value->text = option->standard;
	return kv_option_parse(option, option->standard, &value->number);
}

/* Names that begin with KVSHIM and are none of ours are most likely misspelt. */
static void complain_unknown(char *const *env, kv_complain_fn complain, void *ctx)
{
	unsigned n = 0;

	for (; env && *env && n < UNKNOWN_MAX; env++) {
		size_t length = strcspn(*env, "=");
		char name[64], line[256];
		bool known = false;

		if (strncmp(*env, PREFIX "_", sizeof(PREFIX)) != 0)
			continue;
		for (int i = 0; i < KV_OPT_COUNT && !known; i++)
			known = strlen(kv_options[i].name) == length &&
				strncmp(kv_options[i].name, *env, length) == 0;
		if (known)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), *env);
		snprintf(line, sizeof(line),
			"%s is no option of kvshim, it is ignored; did you mean %s?", name,
			kv_option_nearest(name));
		complain(ctx, line);
		n++;
	}
}

int kv_config_read(struct kv_config *config, char *const *env, kv_complain_fn complain, void *ctx)
{
	int error;

	memset(config, 0, sizeof(*config));
	for (int i = 0; i < KV_OPT_COUNT; i++) {
		error = read_option(&config->values[i], &kv_options[i],
			env_find(env, kv_options[i].name), complain, ctx);
		if (error) {
			kv_config_free(config);
			return -ENOMEM;
		}
	}
	if (complain)
		complain_unknown(env, complain, ctx);
	return 0;
}

void kv_config_free(struct kv_config *config)
{
	for (int i = 0; i < KV_OPT_COUNT; i++)
		free(config->values[i].owned);
	memset(config, 0, sizeof(*config));
}

const char *kv_source_name(enum kv_option_source source)
{
	switch (source) {
	case KV_SOURCE_DEFAULT:
		return "default";
	case KV_SOURCE_ENVIRONMENT:
		return "environment";
	case KV_SOURCE_REJECTED:
		return "default (the value in the environment is wrong)";
	}
	return "?";
}
