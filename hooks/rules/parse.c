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

bool kv_parser_is_word(char c)
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
	if (!kv_parser_is_word(*at)) {
		bool pair = at + 1 < p->end && at[1] == '=' && strchr("=!<>", *at);

		return (struct kv_text){at, pair ? 2 : 1};
	}
	while (at < p->end && kv_parser_is_word(*at))
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

	if (!word.length || !kv_parser_is_word(*word.at) || word.length > 128)
		return kv_parser_fail(p, "a name expected");
	if (kv_parser_peek(p).length)
		return kv_parser_fail(p, "only a name belongs on this line");
	/* The byte behind it is a blank, the line's end or the file's, and has been read. */
	p->set->text[word.at + word.length - p->set->text] = '\0';
	*ret_name = word.at;
	return 0;
}

struct kv_text kv_text_trimmed(const char *from, const char *to)
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
	struct kv_text rest = kv_text_trimmed(p->at, p->end);
	struct kv_type type = {.name = kv_parser_next(p), .per = 1};
	uint64_t number;
	int err;

	if (!rest.length || !kv_parser_is_word(*type.name.at))
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
		err = kv_parser_variant_line(p, word);
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
