/* SPDX-License-Identifier: Apache-2.0 */
/*
 * set.h - the parts of a parsed rule file, shared by the parser, the matcher and the evaluator.
 *
 * Immutable once parsed. All text points into the set's own copy of the file.
 */
#ifndef KV_RULES_SET_H
#define KV_RULES_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/rules/expr.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/signature.h"

enum {
	KV_SET_TYPES = 96,
	KV_SET_TAILS = 16,
	KV_SET_FAMILIES = 256,
	KV_FAMILY_VARIANTS = 16,
	KV_VARIANT_OPS = 512,
	KV_VARIANT_WHERES = 4,
	KV_VARIANT_REQUIRES = 10,
	KV_VARIANT_ACCESSES = 8,
	KV_VARIANT_EXTENTS = 4,
	KV_ACCESS_DIMS = 4,
	KV_SET_TEXT_MAX = 1 << 20, /* bytes of a rule file */
};

struct kv_type {
	struct kv_text name;
	uint32_t size; /* bytes of one, or of one block */
	uint32_t per;  /* elements in it */
};

struct kv_dim {
	struct kv_expr count, stride; /* stride: bytes */
};

struct kv_access_rule {
	uint8_t kind;        /* enum kv_access_kind */
	uint8_t param;       /* whose address it is: the first parameter that addr names */
	uint8_t index_width; /* bytes; 0: not indexed */
	bool dead;
	struct kv_expr addr, bytes;
	uint32_t n_dims;
	struct kv_dim dims[KV_ACCESS_DIMS];
	/* Indexed: for i < count, addr + index[i] * stride, bytes long. within: bytes from addr in
	 * which all rows lie. */
	uint8_t index_param;
	struct kv_expr index, count, stride, within;
};

struct kv_extent_rule {
	struct kv_expr addr, planes, plane_stride, rows, stride, length;
};

struct kv_where {
	uint32_t arg;
	struct kv_text choices; /* separated by '|' */
};

struct kv_variant {
	const char *name;
	uint32_t n_template;
	bool template_open;                                   /* more arguments may follow */
	struct kv_text template_names[KV_SIGNATURE_TEMPLATE]; /* empty: not used */
	uint32_t n_params;
	struct kv_text params[KV_SIGNATURE_PARAMS]; /* patterns */
	uint32_t n_wheres, n_lets, n_requires, n_accesses, n_extents, n_ops;
	struct kv_where wheres[KV_VARIANT_WHERES];
	struct kv_text let_names[KV_EXPR_LETS];
	struct kv_expr lets[KV_EXPR_LETS], requires[KV_VARIANT_REQUIRES];
	struct kv_access_rule accesses[KV_VARIANT_ACCESSES];
	struct kv_extent_rule extents[KV_VARIANT_EXTENTS];
	uint64_t keeps;    /* bit i: the kernel leaves the address in parameter i in memory */
	struct kv_op *ops; /* n_ops, owned */
};

struct kv_family {
	const char *name;
	uint32_t n_variants;
	struct kv_variant *variants[KV_FAMILY_VARIANTS]; /* owned */
};

struct kv_ruleset {
	char *text; /* owned */
	uint32_t n_types, n_families, n_tails;
	struct kv_type types[KV_SET_TYPES];
	const char *tails[KV_SET_TAILS]; /* structures whose last eight bytes hold no address */
	struct kv_family families[KV_SET_FAMILIES];
};

/* NULL: no such type. */
const struct kv_type *kv_type_find(const struct kv_ruleset *set, struct kv_text name);

/* ---- between parse.c, parse_variant.c and parse_expr.c ---- */

struct kv_parser {
	struct kv_ruleset *set;
	struct kv_rules_error *error;
	uint32_t line;
	const char *at, *end; /* what is left of the line */
	struct kv_family *family;
	struct kv_variant *variant;
	struct kv_op ops[KV_VARIANT_OPS]; /* of the variant */
};

/* Records the reason (printf-like), once, and returns -EINVAL. */
int kv_parser_fail(struct kv_parser *p, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Letters, digits, '_'. */
bool kv_parser_is_word(char c);
/* Without blanks on either side. */
struct kv_text kv_text_trimmed(const char *from, const char *to);
/* The next word (letters, digits, '_') or single character; empty at the end of the line. */
struct kv_text kv_parser_peek(struct kv_parser *p);
struct kv_text kv_parser_next(struct kv_parser *p);
/* Takes the next word if it is this one. */
bool kv_parser_accept(struct kv_parser *p, const char *word);
/* A decimal or hexadecimal number up to limit. */
int kv_parser_number(struct kv_parser *p, uint64_t limit, uint64_t *ret_value);
/* The rest of a line that begins with `word`, inside a variant. */
int kv_parser_variant_line(struct kv_parser *p, struct kv_text word);
/* One expression, up to a word that cannot continue it. ret_param: the first parameter that it
 * names, KV_RULE_PARAMS if none; may be NULL. */
int kv_parser_expr(struct kv_parser *p, struct kv_expr *ret_expr, uint32_t *ret_param);

#endif
