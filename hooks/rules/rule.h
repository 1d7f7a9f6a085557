/* SPDX-License-Identifier: Apache-2.0 */
/* rule.h - a rule bound to one kernel, shared by match.c and eval.c. Immutable; one heap block. */
#ifndef KV_RULES_RULE_H
#define KV_RULES_RULE_H

#include "hooks/rules/set.h"

struct kv_bound {
	const struct kv_variant *variant;
	struct kv_op
		*ops; /* the variant's, with template arguments and parameter types filled in */
};

struct kv_rule {
	const struct kv_family *family;
	uint64_t words; /* bit i: parameter i is one eight-byte word, so an access explains all of
			   it */
	uint32_t n_bound;
	struct kv_bound bound[KV_FAMILY_VARIANTS];
};

#endif
