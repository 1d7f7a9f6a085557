/* SPDX-License-Identifier: Apache-2.0 */
/* signature.c - see signature.h. */
#include "hooks/rules/signature.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libsupc++ (GPL with the GCC Runtime Library Exception, which permits this link); C has no header
 * for it. */
extern char *__cxa_demangle(const char *mangled, char *buffer, size_t *length, int *status);

bool kv_text_equal(struct kv_text a, struct kv_text b)
{
	return a.length == b.length && !memcmp(a.at, b.at, a.length);
}

bool kv_text_is(struct kv_text a, const char *b)
{
	return kv_text_equal(a, (struct kv_text){b, strlen(b)});
}

bool kv_mangled_has(const char *mangled, const char *name)
{
	char coded[160];
	int n = snprintf(coded, sizeof(coded), "%zu%s", strlen(name), name);

	if (n < 0 || (size_t)n >= sizeof(coded))
		return false;
	for (const char *at = mangled; (at = strstr(at, coded)); at++)
		if (at == mangled || at[-1] < '0' || at[-1] > '9')
			return true;
	/* extern "C" names are not mangled. */
	return !strcmp(mangled, name);
}

static struct kv_text trimmed(const char *from, const char *to)
{
	while (from < to && *from == ' ')
		from++;
	while (to > from && to[-1] == ' ')
		to--;
	return (struct kv_text){from, to - from};
}

/*
 * The end of a bracket that opens at *at: the address of its closing character, NULL if there is
 * none. Within parentheses < and > may be operators and are not counted.
 */
static const char *closing(const char *at)
{
	uint32_t round = 0, angle = 0;
	bool in_angle = *at == '<';

	for (; *at; at++) {
		if (*at == '(' || *at == '[' || *at == '{')
			round++;
		else if (*at == ')' || *at == ']' || *at == '}') {
			if (!round)
				return NULL;
			round--;
		} else if (!round && *at == '<')
			angle++;
		else if (!round && *at == '>') {
			if (!angle)
				return NULL;
			angle--;
		} else {
			continue;
		}
		if (!round && (in_angle ? !angle : true))
			return at;
	}
	return NULL;
}

/* Splits the text between two brackets at its own commas. -EINVAL: more than max. */
static int split(
	const char *from, const char *to, struct kv_text *parts, uint32_t max, uint32_t *ret_n)
{
	uint32_t depth = 0, n = 0;
	const char *start = from;

	*ret_n = 0;
	if (!trimmed(from, to).length)
		return 0;
	for (const char *at = from; at <= to; at++) {
		if (at < to && strchr("(<[{", *at))
			depth++;
		else if (at < to && strchr(")>]}", *at) && depth)
			depth--;
		if (at < to && (*at != ',' || depth))
			continue;
		if (n == max)
			return -EINVAL;
		parts[n++] = trimmed(start, at);
		start = at + 1;
	}
	*ret_n = n;
	return 0;
}

/* "void ns::name" -> "name"; namespaces that a rule file could not know are dropped, others stay.
 */
static struct kv_text plain_name(const char *from, const char *to)
{
	struct kv_text name;

	for (const char *at = to; at > from; at--) {
		if (at[-1] == ' ') {
			from = at;
			break;
		}
	}
	name = trimmed(from, to);
	if (name.length > 10 && !memcmp(name.at, "_INTERNAL_", 10)) {
		const char *colons = memmem(name.at, name.length, "::", 2);

		if (colons)
			name = trimmed(colons + 2, to);
	}
	return name;
}

static int take_apart(struct kv_signature *s)
{
	static const char anonymous[] = "(anonymous namespace)::";
	const char *at = s->demangled, *start, *hidden, *close;
	int err;

	/* At the beginning, or behind the return type. */
	hidden = strstr(at, anonymous);
	if (hidden && (hidden == at || (hidden[-1] == ' ' && !memchr(at, '<', hidden - at) &&
					       !memchr(at, '(', hidden - at))))
		at = hidden + sizeof(anonymous) - 1;
	start = at;
	at += strcspn(at, "<(");
	if (!*at)
		return -EINVAL;
	s->name = plain_name(start, at);
	if (!s->name.length)
		return -EINVAL;
	if (*at == '<') {
		close = closing(at);
		if (!close)
			return -EINVAL;
		err = split(at + 1, close, s->template_args, KV_SIGNATURE_TEMPLATE, &s->n_template);
		if (err)
			return err;
		at = close + 1;
	}
	if (*at != '(')
		return -EINVAL;
	close = closing(at);
	if (!close || close[1])
		return -EINVAL;
	return split(at + 1, close, s->params, KV_SIGNATURE_PARAMS, &s->n_params);
}

static int parse_owned(char *demangled, struct kv_signature *ret_signature)
{
	struct kv_signature s = {.demangled = demangled};
	int err = take_apart(&s);

	if (err) {
		free(demangled);
		return err;
	}
	*ret_signature = s;
	return 0;
}

int kv_signature_parse_text(const char *demangled, struct kv_signature *ret_signature)
{
	char *copy = strdup(demangled);

	return copy ? parse_owned(copy, ret_signature) : -ENOMEM;
}

int kv_signature_parse(const char *mangled, struct kv_signature *ret_signature)
{
	char *demangled;
	int status;

	if (strnlen(mangled, KV_MANGLED_MAX + 1) > KV_MANGLED_MAX || strncmp(mangled, "_Z", 2))
		return -EINVAL;
	demangled = __cxa_demangle(mangled, NULL, NULL, &status);
	if (!demangled)
		return status == -1 ? -ENOMEM : -EINVAL;
	return parse_owned(demangled, ret_signature);
}

void kv_signature_free(struct kv_signature *signature)
{
	free(signature->demangled);
	signature->demangled = NULL;
}
