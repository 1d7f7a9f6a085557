/* SPDX-License-Identifier: Apache-2.0 */
/* expr.c - see expr.h. */
#include "hooks/rules/expr.h"

#include <errno.h>
#include <string.h>

const uint8_t *kv_launch_param(
	const struct kv_launch *launch, uint32_t param, uint32_t offset, uint32_t bytes)
{
	uint64_t at;

	if (launch->params)
		return launch->params[param] ? (const uint8_t *)launch->params[param] + offset
					     : NULL;
	if (!launch->block)
		return NULL;
	at = (uint64_t)launch->offsets[param] + offset;
	return at + bytes <= launch->block_size ? launch->block + at : NULL;
}

static int load(const struct kv_launch *launch, const struct kv_op *op, int64_t *ret_value)
{
	const uint8_t *at = kv_launch_param(launch, op->param, op->offset, op->width);
	uint64_t raw = 0;

	if (!at)
		return -ENOTSUP;
	memcpy(&raw, at, op->width);
	if (op->is_signed && op->width < 8) {
		uint64_t sign = 1ull << (8 * op->width - 1);

		raw = (raw ^ sign) - sign;
	}
	*ret_value = (int64_t)raw;
	return 0;
}

static int combine(uint8_t code, int64_t a, int64_t b, int64_t *ret_value)
{
	bool bad = false;
	int64_t r = 0;

	switch (code) {
	case KV_OP_ADD:
		bad = __builtin_add_overflow(a, b, &r);
		break;
	case KV_OP_SUB:
		bad = __builtin_sub_overflow(a, b, &r);
		break;
	case KV_OP_MUL:
		bad = __builtin_mul_overflow(a, b, &r);
		break;
	case KV_OP_DIV:
	case KV_OP_MOD:
		bad = b == 0 || (a == INT64_MIN && b == -1);
		if (!bad)
			r = code == KV_OP_DIV ? a / b : a % b;
		break;
	case KV_OP_MIN:
		r = a < b ? a : b;
		break;
	case KV_OP_MAX:
		r = a > b ? a : b;
		break;
	case KV_OP_EQ:
		r = a == b;
		break;
	case KV_OP_NE:
		r = a != b;
		break;
	case KV_OP_LT:
		r = a < b;
		break;
	case KV_OP_LE:
		r = a <= b;
		break;
	case KV_OP_GT:
		r = a > b;
		break;
	case KV_OP_GE:
		r = a >= b;
		break;
	default:
		bad = true;
		break;
	}
	*ret_value = r;
	return bad ? -ENOTSUP : 0;
}

int kv_expr_eval(const struct kv_op *ops, struct kv_expr expr, const struct kv_expr_env *env,
	int64_t *ret_value)
{
	int64_t stack[KV_EXPR_STACK];
	uint32_t depth = 0;

	/* The parser has proven that the stack neither over- nor underflows. */
	for (const struct kv_op *op = ops + expr.first, *end = op + expr.n; op < end; op++) {
		int err = 0;

		if (op->code >= KV_OP_ADD) {
			depth--;
			err = combine(op->code, stack[depth - 1], stack[depth], &stack[depth - 1]);
		} else if (op->code == KV_OP_PARAM) {
			err = load(env->launch, op, &stack[depth++]);
		} else if (op->code == KV_OP_LET) {
			stack[depth++] = env->lets[op->value];
		} else if (op->code == KV_OP_GRID) {
			stack[depth++] = op->value < 3 ? env->launch->grid[op->value]
						       : env->launch->threads[op->value - 3];
		} else {
			stack[depth++] = op->value;
		}
		if (err)
			return err;
	}
	*ret_value = stack[0];
	return 0;
}
