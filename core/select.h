/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.h - which allocations become reservations: a pure function of the request and the rules.
 */
#ifndef KV_CORE_SELECT_H
#define KV_CORE_SELECT_H

#include <stdbool.h>
#include <stdint.h>

/* Rules; strings are comma-separated lists, NULL or "" is an empty list. Immutable after init. */
struct kv_select_rules {
	uint64_t min_size; /* size floor, bytes */
	uint64_t max_size; /* 0: none */
	/* Allocations from here on that nothing below selects or excludes are reservations too,
	 * whole from their first use on, as native ones are; 0: none. */
	uint64_t whole_from;
	const char *include_sizes; /* "SIZE" or "LOW-HIGH", K/M/G suffixes: below the floor too */
	const char *exclude_sizes;
	const char *include_callers; /* globs over caller library base names; empty: all */
	const char *exclude_callers;
	const char *include_symbols; /* globs over symbols on the call stack; empty: all */
	const char *exclude_symbols;
	int min_score; /* required score; INT32_MIN: score is only reported */
};

enum kv_tag {
	KV_TAG_NONE = 0,
	KV_TAG_LAZY = 1,   /* this thread said: make it a reservation, whatever its size */
	KV_TAG_EAGER = 2,  /* a reservation, whole from the start */
	KV_TAG_NATIVE = 3, /* leave it alone */
};

/* One allocation, as the hook sees it. Frames: innermost first, base names and symbols or NULL. */
struct kv_select_request {
	uint64_t size;
	enum kv_tag tag;
	const char *const *libraries;
	const char *const *symbols;
	uint32_t n_frames;
	uint64_t device_total;
	uint64_t free_reported;    /* by the last cuMemGetInfo of the process; 0 none */
	uint32_t calls_since_info; /* driver calls that hooks saw since then */
	uint32_t same_size_before; /* allocations of this size directly before, without an upload
				      between */
	uint64_t uploaded_bytes;   /* host to device so far */
	bool freed_smaller_before; /* an allocation of the same family was freed before */
};

struct kv_select_answer {
	bool reserve;
	bool eager;
	int score;
	const char *why; /* static text for the log */
};

/* Pure. Malformed list entries are ignored here: shim/config reports them when it parses. */
void kv_select(const struct kv_select_rules *rules, const struct kv_select_request *request,
	struct kv_select_answer *ret_answer);

/* True if any library or symbol list is set, or a score is required: the hook then has to unwind
 * the stack. Without frames the score lacks what the makers' symbols would add. */
bool kv_select_needs_frames(const struct kv_select_rules *rules);

/* '*' any characters, '?' one: of a glob of so many characters, or of any in a comma-separated
 * list. */
bool kv_select_glob(const char *glob, uint64_t length, const char *text);
bool kv_select_matches(const char *list, const char *name);

/* "SIZE" or "LOW-HIGH" into bounds; 0 or -EINVAL. For the option parser. */
int kv_select_parse_range(const char *text, uint64_t length, uint64_t *ret_low, uint64_t *ret_high);

#endif
