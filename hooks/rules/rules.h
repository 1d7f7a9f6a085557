/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - what recognised kernels touch, described by data (docs/rules.md has the grammar).
 *
 *   struct kv_ruleset   one rule file, parsed; immutable, freed by its owner
 *   struct kv_rule      the variants of one family that fit one kernel, bound to its template
 *                       arguments and parameter layout; immutable, made once per kernel
 *   struct kv_reach     the answer for one launch: byte ranges, in a structure of fixed size
 *
 * Nothing here knows CUDA, a reservation or a lock. Parsing and binding allocate, evaluating does
 * not: it may run on the launch path. Thread-safe, except that index shadows belong to their
 * table's user.
 *
 * What a rule does not mention it does not explain: a parameter that points into a reservation and
 * has no bit in `explained` is an unknown kernel's parameter, whatever the family.
 */
#ifndef KV_RULES_RULES_H
#define KV_RULES_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_ruleset;
struct kv_rule;
struct kv_shadows;

/* Where and why a rule file is wrong. */
struct kv_rules_error {
	uint32_t line; /* 1-based; 0: the file as a whole */
	char reason[120];
};

/*
 * Parses size bytes of text. On success the caller owns *ret_set. -EINVAL: *ret_error says where
 * and why, and nothing of the file is used. -ENOMEM.
 */
int kv_ruleset_parse(const char *text, size_t size, struct kv_ruleset **ret_set,
	struct kv_rules_error *ret_error);
/* NULL is allowed. Rules bound from it must be gone. */
void kv_ruleset_free(struct kv_ruleset *set);

/* For lists: the number of families, and the name and number of variants of the i-th. */
uint32_t kv_ruleset_families(const struct kv_ruleset *set);
const char *kv_ruleset_family(const struct kv_ruleset *set, uint32_t i, uint32_t *ret_variants);

/*
 * Looks a kernel up. mangled: as the driver names it. n_params, sizes: its parameter layout in
 * bytes; sizes NULL: not known, then parameter sizes are not checked and the rule is good for lists
 * only. ret_family (may be NULL): the family whose name the kernel has, or NULL; belongs to the
 * set.
 *
 * 0: *ret_rule, which the caller frees with kv_rule_free(), before the set. -ENOENT: no family has
 * this name. -ENOTSUP: the family is known, but not with this parameter list: P7, and worth one
 * line in the log. -ENOMEM.
 */
int kv_rule_match(const struct kv_ruleset *set, const char *mangled, uint32_t n_params,
	const uint32_t *sizes, struct kv_rule **ret_rule, const char **ret_family);
/*
 * Bit i: parameter i of this kernel is a structure by value whose last eight bytes hold no address,
 * whatever stands there (an enumerator, and padding that nobody has set). 0 also if there is no
 * memory to find out.
 */
uint64_t kv_rule_tails(const struct kv_ruleset *set, const char *mangled, uint32_t n_params);
void kv_rule_free(struct kv_rule *rule);
const char *kv_rule_family(const struct kv_rule *rule);
/* The names of the variants that fit, in the order in which they are tried; NULL past the last. */
const char *kv_rule_variant(const struct kv_rule *rule, uint32_t i);
/* True if any variant reads an index array. */
bool kv_rule_uses_index(const struct kv_rule *rule);
/* True if any variant writes (with or without an index array). */
bool kv_rule_writes(const struct kv_rule *rule);

/* True if any variant leaves an address in memory, where later launches may find it: what the
 * parameter points at is then never explained. */
bool kv_rule_keeps(const struct kv_rule *rule);

/* ---- one launch ---- */

/* Its parameters, either as an array of pointers (cuLaunchKernel's kernelParams) or as one block
 * with the layout's offsets. */
struct kv_launch {
	const void *const *params; /* n_params pointers, or NULL */
	const uint8_t *block;      /* used if params is NULL: block_size readable bytes */
	uint32_t block_size;
	const uint32_t *offsets; /* n_params, into block; used with block only */
	uint32_t grid[3], threads[3];
};

enum kv_access_kind {
	KV_ACCESS_READ = 1,
	KV_ACCESS_WRITE = 2, /* also where the kernel reads what it then writes */
	/* Somewhere in the range, the rule cannot tell where: P7 of the transient kind. */
	KV_ACCESS_WHOLE = 3,
};

struct kv_access {
	uint64_t addr, length; /* bytes; length >= 1; addr + length does not wrap */
	uint8_t kind;          /* enum kv_access_kind */
	bool dead;             /* WHOLE: what is written to rows not live is never read */
	bool coarse;           /* wider than what the kernel touches: ranges ran out */
	uint8_t param;         /* whose address it is */
};

/* P8: a plane of which [live, end) will not be read again until it has been written. */
struct kv_extent {
	uint64_t plane, live, end; /* addresses, plane <= live <= end */
	uint64_t row_stride;       /* bytes */
};

/* A plane whose rows a recognised writer writes (what an extent may release is proven by it). */
struct kv_plane {
	uint64_t base, row_stride;
};

/* An index array that a launch reads, and the plane whose rows it selects. */
struct kv_index_use {
	uint64_t index, base; /* addresses: of the array, of row 0 */
	uint64_t count, stride, bytes,
		within; /* indices; bytes from row to row, of one row, of all */
	uint8_t width;  /* bytes of an index: 4 or 8 */
	bool known;     /* a shadow said which rows */
};

enum {
	KV_REACH_USES = 4,
	KV_REACH_ACCESSES = 64,
	KV_REACH_EXTENTS = 32,
	KV_REACH_PLANES = 4,
	KV_RULE_PARAMS = 64, /* a kernel with more is not recognised */
};

struct kv_reach {
	uint64_t explained; /* bit i: what parameter i points at is described by the accesses */
	const char *variant;
	uint32_t n_accesses, n_extents, n_planes;
	uint32_t n_uses; /* may exceed KV_REACH_USES: the rest is not told */
	struct kv_access accesses[KV_REACH_ACCESSES];
	struct kv_extent extents[KV_REACH_EXTENTS];
	struct kv_plane planes[KV_REACH_PLANES];
	struct kv_index_use uses[KV_REACH_USES];
};

/*
 * [hot] Evaluates the first variant whose requirements hold. shadows (may be NULL) answers for
 * index arrays, and remembers that they were consumed. grain: a power of two; ranges that lie
 * within one or in neighbouring grains become one (the page size).
 *
 * 0. -ENOTSUP: no variant's requirements hold, or a value makes no sense (overflow, negative
 * count): P7. *ret_reach is then undefined. An index array without a usable shadow is no error: the
 * access is WHOLE over what the rule gives as bound.
 */
int kv_rule_reach(const struct kv_rule *rule, const struct kv_launch *launch,
	struct kv_shadows *shadows, uint64_t grain, struct kv_reach *ret_reach);

#endif
