/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expr.h - the expressions of rule files: 64-bit signed integers, parameters, constants; compiled
 * to a stack program of bounded length, so that a launch costs no parsing, no allocation and no
 * recursion.
 */
#ifndef KV_RULES_EXPR_H
#define KV_RULES_EXPR_H

#include <stdbool.h>
#include <stdint.h>

#include "hooks/rules/rules.h"

enum {
	KV_EXPR_OPS = 40,
	KV_EXPR_STACK = 12,
	KV_EXPR_LETS = 16,
};

enum kv_op_code {
	KV_OP_CONST, /* value */
	KV_OP_PARAM, /* param, offset, width, is_signed */
	KV_OP_SIZE,  /* value: template argument whose type's size it is; before binding only */
	KV_OP_PER,   /* the same: elements per block of that type */
	KV_OP_VALUE, /* the same: the integer that the argument is */
	KV_OP_LET,   /* value: which */
	KV_OP_GRID,  /* value: 0..2; 3..5: threads of a block */
	KV_OP_ADD,
	KV_OP_SUB,
	KV_OP_MUL,
	KV_OP_DIV,
	KV_OP_MOD,
	KV_OP_MIN,
	KV_OP_MAX,
	KV_OP_EQ,
	KV_OP_NE,
	KV_OP_LT,
	KV_OP_LE,
	KV_OP_GT,
	KV_OP_GE,
};

struct kv_op {
	uint8_t code;
	uint8_t width; /* bytes: 1, 2, 4, 8; 0: by the parameter's type, filled in by binding */
	bool is_signed;
	uint8_t param;
	uint32_t offset; /* bytes within the parameter */
	int64_t value;
};

/* A program: ops[first .. first + n) of its owner's array. n == 0: absent. */
struct kv_expr {
	uint16_t first, n;
};

struct kv_expr_env {
	const struct kv_launch *launch;
	int64_t lets[KV_EXPR_LETS];
};

/* [hot] 0, or -ENOTSUP: overflow, division by zero, or a parameter that is not there. */
int kv_expr_eval(const struct kv_op *ops, struct kv_expr expr, const struct kv_expr_env *env,
	int64_t *ret_value);

/* [hot] The bytes of a parameter from offset on, NULL if the launch does not have them. */
const uint8_t *kv_launch_param(
	const struct kv_launch *launch, uint32_t param, uint32_t offset, uint32_t bytes);

#endif
