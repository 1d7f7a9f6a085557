/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - the values of all options and where each came from.
 *
 * Read once, by kv_config_read(), from an environment that the caller passes in; immutable after
 * that. Pure but for the copies of strings that it keeps; no lock, no global.
 */
#ifndef KV_SHIM_CONFIG_H
#define KV_SHIM_CONFIG_H

#include <stdint.h>

enum kv_option_id {
#define KV_OPTION(id, ...) KV_OPT_##id,
#include "shim/config.def"
#undef KV_OPTION
	KV_OPT_COUNT,
};

enum kv_option_type {
	KV_OPTION_BOOL,  /* on/off, yes/no, true/false, 1/0 */
	KV_OPTION_BYTES, /* 4096, 64K, 64M, 64MiB, 64MB (both powers of 1024), up to T */
	KV_OPTION_COUNT,
	KV_OPTION_MS,    /* 50, 50ms, 2s */
	KV_OPTION_INT,   /* may be negative */
	KV_OPTION_LIST,  /* comma-separated */
	KV_OPTION_SIZES, /* comma-separated SIZE or LOW-HIGH */
	KV_OPTION_LOG,   /* see log.h */
	KV_OPTION_PATH,  /* absolute */
	KV_OPTION_SCOPE, /* kv: 0, all: 1 */
	KV_OPTION_RULES, /* off, builtin, or an absolute path */
};

/* A row of config.def. */
struct kv_option {
	const char *name;
	enum kv_option_type type;
	const char *unit;
	const char *standard; /* the default, as a user would write it */
	int64_t low, high;
	const char *word; /* or NULL */
	int64_t word_value;
	const char *sentence;
};

extern const struct kv_option kv_options[KV_OPT_COUNT];

enum kv_option_source {
	KV_SOURCE_DEFAULT = 0,
	KV_SOURCE_ENVIRONMENT = 1,
	KV_SOURCE_REJECTED = 2, /* the environment had a wrong value: the default is used */
};

struct kv_option_value {
	int64_t number;   /* numeric types */
	const char *text; /* what was written: of the default or of the environment; never NULL */
	char *owned;      /* text, if it is a copy of ours */
	enum kv_option_source source;
};

struct kv_config {
	struct kv_option_value values[KV_OPT_COUNT];
};

/* Receives one line without a newline for each thing that is wrong. */
typedef void (*kv_complain_fn)(void *ctx, const char *line);

/*
 * Reads every option from env (as environ; NULL entries end it). Wrong values keep the default and
 * complain, as does each unknown name that starts with KVSHIM_ (8 at most). complain may be NULL.
 * 0, or -ENOMEM: config is unusable and owns nothing.
 */
int kv_config_read(struct kv_config *config, char *const *env, kv_complain_fn complain, void *ctx);
void kv_config_free(struct kv_config *config);

/*
 * Parses text as a value of the option. 0, -EINVAL (not such a value) or -ERANGE; ret_number (may
 * be NULL) is written on success, for the types that are not numeric as 0.
 */
int kv_option_parse(const struct kv_option *option, const char *text, int64_t *ret_number);

/* The option of this name ("KVSHIM_MIN_SIZE", "min-size" or "MIN_SIZE"), or KV_OPT_COUNT. */
enum kv_option_id kv_option_find(const char *name);
/* Its flag without the dashes: "min-size"; "enable" for KVSHIM itself. */
void kv_option_flag(const struct kv_option *option, char *text, uint32_t size);
/* The known name nearest to an unknown one; never NULL. */
const char *kv_option_nearest(const char *name);
/* Edit distance of the first 63 characters. */
unsigned kv_word_distance(const char *a, const char *b);

/* What a value must look like, for people: "a size from 1 to 8E (as 4096, 64K, 64M, 2G), or none".
 */
void kv_option_describe_range(const struct kv_option *option, char *text, uint32_t size);
const char *kv_source_name(enum kv_option_source source);

static inline int64_t kv_config_number(const struct kv_config *config, enum kv_option_id id)
{
	return config->values[id].number;
}
static inline const char *kv_config_text(const struct kv_config *config, enum kv_option_id id)
{
	return config->values[id].text;
}

#endif
