/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - rule files (docs/rules.md): lines, words, directives. The text is hostile. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/rules/set.h"

#define FORMAT_VERSION 1

int kv_parser_fail(struct kv_parser *p, const char *format, ...)
{
	va_list args;

	if (!p->error->reason[0]) {
		p->error->line = p->line;
		va_start(args, format);
		vsnprintf(p->error->reason, sizeof(p->error->reason), format, args);
		va_end(args);
	}
	return -EINVAL;
}

const struct kv_type *kv_type_find(const struct kv_ruleset *set, struct kv_text name)
{
	for (uint32_t i = 0; i < set->n_types; i++)
		if (kv_text_equal(set->types[i].name, name))
			return &set->types[i];
	return NULL;
}

/* ---- words ---- */

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

struct kv_text kv_parser_peek(struct kv_parser *p)
{
	const char *at;

	while (p->at < p->end && (*p->at == ' ' || *p->at == '\t'))
		p->at++;
	at = p->at;
	if (at == p->end)
		return (struct kv_text){at, 0};
	if (!is_word(*at)) {
		bool pair = at + 1 < p->end && at[1] == '=' && strchr("=!<>", *at);

		return (struct kv_text){at, pair ? 2 : 1};
	}
	while (at < p->end && is_word(*at))
		at++;
	return (struct kv_text){p->at, at - p->at};
}

struct kv_text kv_parser_next(struct kv_parser *p)
{
	struct kv_text word = kv_parser_peek(p);

	p->at = word.at + word.length;
	return word;
}

bool kv_parser_accept(struct kv_parser *p, const char *word)
{
	if (!kv_text_is(kv_parser_peek(p), word))
		return false;
	kv_parser_next(p);
	return true;
}

int kv_parser_number(struct kv_parser *p, uint64_t limit, uint64_t *ret_value)
{
	struct kv_text word = kv_parser_next(p);
	char digits[24], *end;
	unsigned long long value;

	if (!word.length || word.length >= sizeof(digits) || !isdigit((unsigned char)*word.at))
		return kv_parser_fail(
			p, "a number expected, not '%.*s'", (int)word.length, word.at);
	memcpy(digits, word.at, word.length);
	digits[word.length] = '\0';
	errno = 0;
	value = strtoull(digits, &end, strncmp(digits, "0x", 2) ? 10 : 16);
	if (*end || errno || value > limit)
		return kv_parser_fail(
			p, "%s is no number up to %llu", digits, (unsigned long long)limit);
	*ret_value = value;
	return 0;
}

/* A kernel's or a variant's name, terminated in place: nothing else may stand on its line. */
static int name_alone(struct kv_parser *p, const char **ret_name)
{
	struct kv_text word = kv_parser_next(p);

	if (!word.length || !is_word(*word.at) || word.length > 128)
		return kv_parser_fail(p, "a name expected");
	if (kv_parser_peek(p).length)
		return kv_parser_fail(p, "only a name belongs on this line");
	/* The byte behind it is a blank, the line's end or the file's, and has been read. */
	p->set->text[word.at + word.length - p->set->text] = '\0';
	*ret_name = word.at;
	return 0;
}

static struct kv_text trimmed(const char *from, const char *to)
{
	while (from < to && isspace((unsigned char)*from))
		from++;
	while (to > from && isspace((unsigned char)to[-1]))
		to--;
	return (struct kv_text){from, to - from};
}

/* ---- directives before any variant ---- */

static int on_type(struct kv_parser *p)
{
	struct kv_text rest = trimmed(p->at, p->end);
	struct kv_type type = {.name = kv_parser_next(p), .per = 1};
	uint64_t number;
	int err;

	if (!rest.length || !is_word(*type.name.at))
		return kv_parser_fail(p, "a type's name expected");
	if (kv_type_find(p->set, type.name))
		return kv_parser_fail(
			p, "type %.*s stands here twice", (int)type.name.length, type.name.at);
	if (p->set->n_types == KV_SET_TYPES)
		return kv_parser_fail(p, "too many types");
	err = kv_parser_number(p, 4096, &number);
	if (err)
		return err;
	type.size = number;
	if (kv_parser_peek(p).length) {
		err = kv_parser_number(p, 4096, &number);
		if (err)
			return err;
		type.per = number;
	}
	if (!type.size || !type.per)
		return kv_parser_fail(p, "sizes begin at 1");
	p->set->types[p->set->n_types++] = type;
	return 0;
}

/* Gives the variant its own array of operations. */
static int finish_variant(struct kv_parser *p)
{
	struct kv_variant *v = p->variant;

	if (!v)
		return 0;
	if (!v->n_params)
		return kv_parser_fail(p, "variant %s has no `params`", v->name);
	v->ops = malloc((v->n_ops ? v->n_ops : 1) * sizeof(*v->ops));
	if (!v->ops)
		return -ENOMEM;
	memcpy(v->ops, p->ops, v->n_ops * sizeof(*v->ops));
	p->variant = NULL;
	return 0;
}

static int on_family(struct kv_parser *p)
{
	const char *name;
	int err = finish_variant(p);

	if (!err)
		err = name_alone(p, &name);
	if (err)
		return err;
	for (uint32_t i = 0; i < p->set->n_families; i++)
		if (!strcmp(p->set->families[i].name, name))
			return kv_parser_fail(p, "family %s stands here twice", name);
	if (p->set->n_families == KV_SET_FAMILIES)
		return kv_parser_fail(p, "too many families");
	p->family = &p->set->families[p->set->n_families++];
	p->family->name = name;
	return 0;
}

static int on_variant(struct kv_parser *p)
{
	struct kv_variant *v;
	int err = finish_variant(p);

	if (err)
		return err;
	if (!p->family)
		return kv_parser_fail(p, "a variant belongs into a family");
	if (p->family->n_variants == KV_FAMILY_VARIANTS)
		return kv_parser_fail(p, "too many variants in this family");
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	p->family->variants[p->family->n_variants++] = v;
	p->variant = v;
	return name_alone(p, &v->name);
}

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
		if (!is_word(*word.at))
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
		item = trimmed(item.at, x);
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
		err = add_params(p, trimmed(start, at));
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
	where->choices = trimmed(p->at, p->end);
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

/* ---- lines ---- */

/* tail NAME */
static int on_tail(struct kv_parser *p)
{
	const char *name;
	int err = name_alone(p, &name);

	if (err)
		return err;
	if (p->set->n_tails == KV_SET_TAILS)
		return kv_parser_fail(p, "more than %d structures with a tail", KV_SET_TAILS);
	p->set->tails[p->set->n_tails++] = name;
	return 0;
}

static int on_variant_line(struct kv_parser *p, struct kv_text word)
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
	return kv_parser_fail(p, "'%.*s' is no directive", (int)word.length, word.at);
}

static int on_line(struct kv_parser *p, bool *versioned)
{
	struct kv_text word = kv_parser_next(p);
	uint64_t version;
	int err;

	if (!word.length)
		return 0;
	if (!*versioned) {
		if (!kv_text_is(word, "rules"))
			return kv_parser_fail(
				p, "the first line must be `rules %d`", FORMAT_VERSION);
		*versioned = true;
		err = kv_parser_number(p, UINT32_MAX, &version);
		if (!err && version != FORMAT_VERSION)
			err = kv_parser_fail(p, "format %u is not known", (uint32_t)version);
	} else if (kv_text_is(word, "type")) {
		err = on_type(p);
	} else if (kv_text_is(word, "tail")) {
		err = on_tail(p);
	} else if (kv_text_is(word, "family")) {
		err = on_family(p);
	} else if (kv_text_is(word, "variant")) {
		err = on_variant(p);
	} else {
		err = on_variant_line(p, word);
	}
	if (!err && kv_parser_peek(p).length)
		err = kv_parser_fail(p, "'%.*s' is too much",
			p->end - p->at < 24 ? (int)(p->end - p->at) : 24, p->at);
	return err;
}

static int parse_lines(struct kv_parser *p, char *text, size_t size)
{
	bool versioned = false;
	char *at = text, *end = text + size;
	int err = 0;

	while (!err && at < end) {
		char *newline = memchr(at, '\n', end - at);
		char *comment;

		p->line++;
		p->at = at;
		p->end = newline ? newline : end;
		if (p->end > at && p->end[-1] == '\r')
			p->end--;
		if (memchr(at, '\0', p->end - at))
			return kv_parser_fail(p, "a NUL byte");
		comment = memchr(at, '#', p->end - at);
		if (comment)
			p->end = comment;
		at = newline ? newline + 1 : end;
		err = on_line(p, &versioned);
	}
	if (!err && !versioned)
		err = kv_parser_fail(p, "the file is empty");
	return err ? err : finish_variant(p);
}

int kv_ruleset_parse(const char *text, size_t size, struct kv_ruleset **ret_set,
	struct kv_rules_error *ret_error)
{
	struct kv_parser *p = calloc(1, sizeof(*p));
	int err = -ENOMEM;

	*ret_error = (struct kv_rules_error){0};
	if (!p)
		return -ENOMEM;
	p->error = ret_error;
	p->set = calloc(1, sizeof(*p->set));
	if (!p->set)
		goto free_parser;
	if (size > KV_SET_TEXT_MAX) {
		err = kv_parser_fail(p, "more than %d bytes", KV_SET_TEXT_MAX);
		goto free_set;
	}
	p->set->text = malloc(size + 1);
	if (!p->set->text)
		goto free_set;
	memcpy(p->set->text, text, size);
	p->set->text[size] = '\0';
	err = parse_lines(p, p->set->text, size);
	if (err)
		goto free_set;
	*ret_set = p->set;
	free(p);
	return 0;

free_set:
	kv_ruleset_free(p->set);
free_parser:
	free(p);
	return err;
}

void kv_ruleset_free(struct kv_ruleset *set)
{
	if (!set)
		return;
	for (uint32_t i = 0; i < set->n_families; i++) {
		for (uint32_t j = 0; j < set->families[i].n_variants; j++) {
			free(set->families[i].variants[j]->ops);
			free(set->families[i].variants[j]);
		}
	}
	free(set->text);
	free(set);
}

uint32_t kv_ruleset_families(const struct kv_ruleset *set)
{
	return set->n_families;
}

const char *kv_ruleset_family(const struct kv_ruleset *set, uint32_t i, uint32_t *ret_variants)
{
	*ret_variants = set->families[i].n_variants;
	return set->families[i].name;
}
