/* SPDX-License-Identifier: Apache-2.0 */
/* parse_expr.c - expressions of rule files, compiled by recursive descent. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "hooks/rules/set.h"

#define NESTING_MAX 16

struct compiler {
	struct kv_parser *p;
	uint32_t nesting, depth, first_param;
	struct kv_expr expr;
};

static int comparison(struct compiler *c);

static int emit(struct compiler *c, struct kv_op op)
{
	struct kv_variant *v = c->p->variant;

	if (op.code >= KV_OP_ADD)
		c->depth--;
	else if (++c->depth > KV_EXPR_STACK)
		return kv_parser_fail(c->p, "the expression is too deep");
	if (c->expr.n == KV_EXPR_OPS)
		return kv_parser_fail(c->p, "the expression is too long");
	if (v->n_ops == KV_VARIANT_OPS)
		return kv_parser_fail(c->p, "too many expressions in this variant");
	c->p->ops[v->n_ops++] = op;
	c->expr.n++;
	return 0;
}

static int expect(struct compiler *c, const char *what)
{
	return kv_parser_accept(c->p, what) ? 0 : kv_parser_fail(c->p, "'%s' expected", what);
}

/* size(T), per(T), value(T): of a template argument, or of a type by its name. */
static int of_type(struct compiler *c, uint8_t code)
{
	const struct kv_variant *v = c->p->variant;
	const struct kv_type *type;
	struct kv_text name;
	int err = expect(c, "(");

	if (err)
		return err;
	name = kv_parser_next(c->p);
	err = expect(c, ")");
	if (err)
		return err;
	for (uint32_t i = 0; i < v->n_template; i++)
		if (name.length && kv_text_equal(name, v->template_names[i]))
			return emit(c, (struct kv_op){.code = code, .value = i});
	type = code == KV_OP_VALUE ? NULL : kv_type_find(c->p->set, name);
	if (!type)
		return kv_parser_fail(c->p, "%.*s is no template argument%s", (int)name.length,
			name.at, code == KV_OP_VALUE ? "" : " and no type");
	return emit(c, (struct kv_op){.code = KV_OP_CONST,
			       .value = code == KV_OP_SIZE ? type->size : type->per});
}

/* min(a, b), max(a, b) */
static int of_two(struct compiler *c, uint8_t code)
{
	int err = expect(c, "(");

	if (!err)
		err = comparison(c);
	if (!err)
		err = expect(c, ",");
	if (!err)
		err = comparison(c);
	if (!err)
		err = expect(c, ")");
	return err ? err : emit(c, (struct kv_op){.code = code});
}

/* The type behind ':' of a parameter. */
static int param_type(struct compiler *c, struct kv_op *op)
{
	static const struct {
		const char *name;
		uint8_t width;
		bool is_signed;
	} types[] = {{"u8", 1, false}, {"i8", 1, true}, {"u16", 2, false}, {"i16", 2, true},
		{"u32", 4, false}, {"i32", 4, true}, {"u64", 8, false}, {"i64", 8, true}};
	struct kv_text name = kv_parser_next(c->p);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (kv_text_is(name, types[i].name)) {
			op->width = types[i].width;
			op->is_signed = types[i].is_signed;
			return 0;
		}
	}
	return kv_parser_fail(c->p, "'%.*s' is no parameter type (u8 to u64, i8 to i64)",
		(int)name.length, name.at);
}

/* pN, pN:type, pN.WORD, pN.WORD:type; a word is four bytes. */
static int parameter(struct compiler *c, struct kv_text name)
{
	struct kv_op op = {.code = KV_OP_PARAM};
	uint32_t number = 0;
	uint64_t word;
	int err;

	for (size_t i = 1; i < name.length; i++)
		if (number <= KV_RULE_PARAMS)
			number = number * 10 + (name.at[i] - '0');
	if (number >= c->p->variant->n_params)
		return kv_parser_fail(c->p, "%.*s: the variant has %u parameters (`params` first)",
			(int)name.length, name.at, c->p->variant->n_params);
	op.param = number;
	if (kv_parser_accept(c->p, ".")) {
		err = kv_parser_number(c->p, 1023, &word);
		if (err)
			return err;
		op.offset = 4 * word;
		op.width = 4;
	}
	if (kv_parser_accept(c->p, ":")) {
		err = param_type(c, &op);
		if (err)
			return err;
	}
	if (c->first_param == KV_RULE_PARAMS)
		c->first_param = number;
	return emit(c, op);
}

/* grid.x, threads.y */
static int dimension(struct compiler *c, int64_t base)
{
	static const char *const axes[] = {"x", "y", "z"};
	int err = expect(c, ".");

	for (int i = 0; !err && i < 3; i++)
		if (kv_parser_accept(c->p, axes[i]))
			return emit(c, (struct kv_op){.code = KV_OP_GRID, .value = base + i});
	return err ? err : kv_parser_fail(c->p, "x, y or z expected");
}

static bool is_parameter(struct kv_text word)
{
	if (word.length < 2 || word.length > 4 || word.at[0] != 'p')
		return false;
	for (size_t i = 1; i < word.length; i++)
		if (!isdigit((unsigned char)word.at[i]))
			return false;
	return true;
}

static int named(struct compiler *c, struct kv_text word)
{
	static const struct {
		const char *name;
		uint8_t code;
	} of_types[] = {{"size", KV_OP_SIZE}, {"per", KV_OP_PER}, {"value", KV_OP_VALUE}},
	  of_twos[] = {{"min", KV_OP_MIN}, {"max", KV_OP_MAX}};
	const struct kv_variant *v = c->p->variant;

	for (int i = 0; i < 3; i++)
		if (kv_text_is(word, of_types[i].name))
			return of_type(c, of_types[i].code);
	for (int i = 0; i < 2; i++)
		if (kv_text_is(word, of_twos[i].name))
			return of_two(c, of_twos[i].code);
	if (kv_text_is(word, "grid"))
		return dimension(c, 0);
	if (kv_text_is(word, "threads"))
		return dimension(c, 3);
	if (is_parameter(word))
		return parameter(c, word);
	for (uint32_t i = 0; i < v->n_lets; i++)
		if (kv_text_equal(word, v->let_names[i]))
			return emit(c, (struct kv_op){.code = KV_OP_LET, .value = i});
	return kv_parser_fail(c->p, "'%.*s' is not known here", (int)word.length, word.at);
}

static int primary(struct compiler *c)
{
	struct kv_text word = kv_parser_peek(c->p);
	uint64_t number;
	int err;

	if (!word.length)
		return kv_parser_fail(c->p, "an expression is missing");
	if (isdigit((unsigned char)word.at[0])) {
		err = kv_parser_number(c->p, INT64_MAX, &number);
		return err ? err
			   : emit(c, (struct kv_op){.code = KV_OP_CONST, .value = (int64_t)number});
	}
	kv_parser_next(c->p);
	if (kv_text_is(word, "(")) {
		err = comparison(c);
		return err ? err : expect(c, ")");
	}
	return named(c, word);
}

static int product(struct compiler *c)
{
	int err = primary(c);

	while (!err) {
		uint8_t code;

		if (kv_parser_accept(c->p, "*"))
			code = KV_OP_MUL;
		else if (kv_parser_accept(c->p, "/"))
			code = KV_OP_DIV;
		else if (kv_parser_accept(c->p, "%"))
			code = KV_OP_MOD;
		else
			break;
		err = primary(c);
		if (!err)
			err = emit(c, (struct kv_op){.code = code});
	}
	return err;
}

static int sum(struct compiler *c)
{
	int err = product(c);

	while (!err) {
		uint8_t code;

		if (kv_parser_accept(c->p, "+"))
			code = KV_OP_ADD;
		else if (kv_parser_accept(c->p, "-"))
			code = KV_OP_SUB;
		else
			break;
		err = product(c);
		if (!err)
			err = emit(c, (struct kv_op){.code = code});
	}
	return err;
}

static int comparison(struct compiler *c)
{
	static const struct {
		const char *sign;
		uint8_t code;
	} signs[] = {{"==", KV_OP_EQ}, {"!=", KV_OP_NE}, {"<=", KV_OP_LE}, {">=", KV_OP_GE},
		{"<", KV_OP_LT}, {">", KV_OP_GT}};
	int err;

	if (++c->nesting > NESTING_MAX)
		return kv_parser_fail(c->p, "the expression is too deep");
	err = sum(c);
	for (size_t i = 0; !err && i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (!kv_parser_accept(c->p, signs[i].sign))
			continue;
		err = sum(c);
		if (!err)
			err = emit(c, (struct kv_op){.code = signs[i].code});
		break;
	}
	c->nesting--;
	return err;
}

int kv_parser_expr(struct kv_parser *p, struct kv_expr *ret_expr, uint32_t *ret_param)
{
	struct compiler c = {.p = p, .first_param = KV_RULE_PARAMS};
	int err;

	if (!p->variant)
		return kv_parser_fail(p, "this belongs into a variant");
	c.expr.first = p->variant->n_ops;
	err = comparison(&c);
	if (err)
		return err;
	*ret_expr = c.expr;
	if (ret_param)
		*ret_param = c.first_param;
	return 0;
}
