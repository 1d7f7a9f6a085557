/* SPDX-License-Identifier: Apache-2.0 */
/* parse_variant.c - rule files: the lines of a variant, what it fits and what it means. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/rules/set.h"

/* ---- directives of a variant: what it fits ---- */

static int on_template(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;

	if (v->n_template || v->n_params)
		return kv_parser_fail(p, "`template` stands once, before `params`");
	while (kv_parser_peek(p).length) {
		struct kv_text word = kv_parser_next(p);

		if (kv_text_is(word, ".")) {
			if (!kv_parser_accept(p, ".") || !kv_parser_accept(p, ".") ||
				kv_parser_peek(p).length)
				return kv_parser_fail(p, "'...' expected, at the end");
			v->template_open = true;
			return 0;
		}
		if (!kv_parser_is_word(*word.at))
			return kv_parser_fail(p, "names, '_' and '...' belong here");
		if (v->n_template == KV_SIGNATURE_TEMPLATE)
			return kv_parser_fail(p, "too many template arguments");
		if (kv_text_is(word, "_"))
			word.length = 0;
		v->template_names[v->n_template++] = word;
	}
	return v->n_template ? 0 : kv_parser_fail(p, "names, '_' and '...' belong here");
}

/* One "TYPE" or "TYPE xN" of a parameter list. */
static int add_params(struct kv_parser *p, struct kv_text item)
{
	struct kv_variant *v = p->variant;
	const char *x = memrchr(item.at, ' ', item.length);
	unsigned long count = 1;

	if (x && x + 2 < item.at + item.length && x[1] == 'x' && isdigit((unsigned char)x[2])) {
		count = strtoul(x + 2, NULL, 10);
		item = kv_text_trimmed(item.at, x);
	}
	if (!item.length)
		return kv_parser_fail(p, "a type is missing between two commas");
	if (!count || count > KV_SIGNATURE_PARAMS - v->n_params)
		return kv_parser_fail(p, "more than %d parameters", KV_SIGNATURE_PARAMS);
	while (count--)
		v->params[v->n_params++] = item;
	return 0;
}

static int on_params(struct kv_parser *p)
{
	const char *start = p->at;
	uint32_t depth = 0;
	int err;

	if (p->variant->n_params)
		return kv_parser_fail(p, "`params` stands once");
	for (const char *at = p->at; at <= p->end; at++) {
		if (at < p->end && strchr("(<", *at))
			depth++;
		else if (at < p->end && strchr(")>", *at) && depth)
			depth--;
		if (at < p->end && (*at != ',' || depth))
			continue;
		err = add_params(p, kv_text_trimmed(start, at));
		if (err)
			return err;
		start = at + 1;
	}
	p->at = p->end;
	return 0;
}

static int on_where(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;
	struct kv_text name = kv_parser_next(p);
	struct kv_where *where = &v->wheres[v->n_wheres];

	if (v->n_wheres == KV_VARIANT_WHERES)
		return kv_parser_fail(p, "too many `where`");
	for (where->arg = 0; where->arg < v->n_template; where->arg++)
		if (name.length && kv_text_equal(name, v->template_names[where->arg]))
			break;
	if (where->arg == v->n_template)
		return kv_parser_fail(p, "%.*s is no template argument", (int)name.length, name.at);
	if (!kv_parser_accept(p, "="))
		return kv_parser_fail(p, "'=' expected");
	where->choices = kv_text_trimmed(p->at, p->end);
	if (!where->choices.length)
		return kv_parser_fail(p, "a choice is missing");
	p->at = p->end;
	v->n_wheres++;
	return 0;
}

/* ---- directives of a variant: what it means ---- */

static int on_let(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;
	struct kv_text name = kv_parser_next(p);
	struct kv_expr expr;
	int err;

	if (!name.length || !(isalpha((unsigned char)*name.at)))
		return kv_parser_fail(p, "a name expected");
	if (v->n_lets == KV_EXPR_LETS)
		return kv_parser_fail(p, "too many `let`");
	if (!kv_parser_accept(p, "="))
		return kv_parser_fail(p, "'=' expected");
	err = kv_parser_expr(p, &expr, NULL);
	if (err)
		return err;
	v->lets[v->n_lets] = expr;
	v->let_names[v->n_lets++] = name;
	return 0;
}

static int on_require(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;

	if (v->n_requires == KV_VARIANT_REQUIRES)
		return kv_parser_fail(p, "too many `require`");
	return kv_parser_expr(p, &v->requires[v->n_requires++], NULL);
}

/* index pN[+...]:i32|i64 count E stride E bytes E [within E] */
static int indexed(struct kv_parser *p, struct kv_access_rule *a)
{
	uint32_t param;
	int err = kv_parser_expr(p, &a->index, &param);

	if (err)
		return err;
	if (param == KV_RULE_PARAMS)
		return kv_parser_fail(p, "an index array begins at a parameter");
	a->index_param = param;
	if (kv_parser_accept(p, "i32"))
		a->index_width = 4;
	else if (kv_parser_accept(p, "i64"))
		a->index_width = 8;
	else
		return kv_parser_fail(p, "i32 or i64 expected");
	if (!kv_parser_accept(p, "count"))
		return kv_parser_fail(p, "'count' expected");
	err = kv_parser_expr(p, &a->count, NULL);
	if (err)
		return err;
	if (!kv_parser_accept(p, "stride"))
		return kv_parser_fail(p, "'stride' expected");
	return kv_parser_expr(p, &a->stride, NULL);
}

static int on_access(struct kv_parser *p, uint8_t kind)
{
	struct kv_variant *v = p->variant;
	struct kv_access_rule *a = &v->accesses[v->n_accesses];
	uint32_t param;
	int err;

	if (v->n_accesses == KV_VARIANT_ACCESSES)
		return kv_parser_fail(p, "too many accesses");
	*a = (struct kv_access_rule){.kind = kind};
	err = kv_parser_expr(p, &a->addr, &param);
	if (err)
		return err;
	if (param == KV_RULE_PARAMS)
		return kv_parser_fail(p, "an address begins at a parameter");
	a->param = param;
	if (kind != KV_ACCESS_WHOLE && kv_parser_accept(p, "index")) {
		err = indexed(p, a);
		if (err)
			return err;
	}
	while (!a->index_width && kv_parser_accept(p, "dim")) {
		if (a->n_dims == KV_ACCESS_DIMS)
			return kv_parser_fail(p, "more than %d dimensions", KV_ACCESS_DIMS);
		err = kv_parser_expr(p, &a->dims[a->n_dims].count, NULL);
		if (err)
			return err;
		if (!kv_parser_accept(p, "by"))
			return kv_parser_fail(p, "'by' expected");
		err = kv_parser_expr(p, &a->dims[a->n_dims++].stride, NULL);
		if (err)
			return err;
	}
	if (!kv_parser_accept(p, "bytes"))
		return kv_parser_fail(p, "'bytes' expected");
	err = kv_parser_expr(p, &a->bytes, NULL);
	if (!err && a->index_width && kv_parser_accept(p, "within"))
		err = kv_parser_expr(p, &a->within, NULL);
	if (err)
		return err;
	if (kind == KV_ACCESS_WHOLE)
		a->dead = kv_parser_accept(p, "dead");
	v->n_accesses++;
	return 0;
}

/* extent ADDR [planes N by STRIDE] rows N by STRIDE length BYTES */
static int on_extent(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;
	struct kv_extent_rule *e = &v->extents[v->n_extents];
	uint32_t param;
	int err;

	if (v->n_extents == KV_VARIANT_EXTENTS)
		return kv_parser_fail(p, "too many extents");
	*e = (struct kv_extent_rule){0};
	err = kv_parser_expr(p, &e->addr, &param);
	if (err)
		return err;
	if (kv_parser_accept(p, "planes")) {
		err = kv_parser_expr(p, &e->planes, NULL);
		if (err)
			return err;
		if (!kv_parser_accept(p, "by"))
			return kv_parser_fail(p, "'by' expected");
		err = kv_parser_expr(p, &e->plane_stride, NULL);
		if (err)
			return err;
	}
	if (!kv_parser_accept(p, "rows"))
		return kv_parser_fail(p, "'rows' expected");
	err = kv_parser_expr(p, &e->rows, NULL);
	if (err)
		return err;
	if (!kv_parser_accept(p, "by"))
		return kv_parser_fail(p, "'by' expected");
	err = kv_parser_expr(p, &e->stride, NULL);
	if (err)
		return err;
	if (!kv_parser_accept(p, "length"))
		return kv_parser_fail(p, "'length' expected");
	v->n_extents++;
	return kv_parser_expr(p, &e->length, NULL);
}

/* keep pN */
static int on_keep(struct kv_parser *p)
{
	struct kv_expr address;
	uint32_t param;
	int err = kv_parser_expr(p, &address, &param);

	if (err)
		return err;
	if (param == KV_RULE_PARAMS || address.n != 1)
		return kv_parser_fail(p, "a parameter expected");
	p->variant->keeps |= 1ull << param;
	return 0;
}

/* ---- any of them ---- */

int kv_parser_variant_line(struct kv_parser *p, struct kv_text word)
{
	if (!p->variant)
		return kv_parser_fail(p, "'%.*s' is no directive here", (int)word.length, word.at);
	if (kv_text_is(word, "template"))
		return on_template(p);
	if (kv_text_is(word, "params"))
		return on_params(p);
	if (kv_text_is(word, "where"))
		return on_where(p);
	if (kv_text_is(word, "let"))
		return on_let(p);
	if (kv_text_is(word, "require"))
		return on_require(p);
	if (kv_text_is(word, "read"))
		return on_access(p, KV_ACCESS_READ);
	if (kv_text_is(word, "write"))
		return on_access(p, KV_ACCESS_WRITE);
	if (kv_text_is(word, "whole"))
		return on_access(p, KV_ACCESS_WHOLE);
	if (kv_text_is(word, "extent"))
		return on_extent(p);
	if (kv_text_is(word, "keep"))
		return on_keep(p);
	return kv_parser_fail(p, "'%.*s' is no directive", (int)word.length, word.at);
}
