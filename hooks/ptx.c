/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ptx.c - see ptx.h. Grammar: PTX ISA, "Kernel and Function Directives" and "Kernel Function
 * Parameters".
 */
#include "hooks/ptx.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct text {
	const char *at, *end;
};

struct token {
	const char *start;
	size_t length; /* 0: end of text */
};

static void skip_blanks(struct text *t)
{
	while (t->at < t->end) {
		size_t left = t->end - t->at;

		if (isspace((unsigned char)*t->at)) {
			t->at++;
		} else if (left >= 2 && !memcmp(t->at, "//", 2)) {
			const char *line = memchr(t->at, '\n', left);

			t->at = line ? line + 1 : t->end;
		} else if (left >= 2 && !memcmp(t->at, "/*", 2)) {
			const char *close = memmem(t->at + 2, left - 2, "*/", 2);

			t->at = close ? close + 2 : t->end;
		} else {
			return;
		}
	}
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

/* A word, a directive (".u64": the dot begins it), a quoted string, or one other character. */
static struct token next(struct text *t)
{
	struct token token;

	skip_blanks(t);
	token.start = t->at;
	if (t->at < t->end && *t->at == '"') {
		const char *close = memchr(t->at + 1, '"', t->end - t->at - 1);

		t->at = close ? close + 1 : t->end;
	} else if (t->at < t->end) {
		bool word = is_word(*t->at) || *t->at == '.';

		t->at++;
		while (word && t->at < t->end && is_word(*t->at))
			t->at++;
	}
	token.length = t->at - token.start;
	return token;
}

static bool is(struct token token, const char *text)
{
	return token.length == strlen(text) && !memcmp(token.start, text, token.length);
}

/* Decimal, octal or hexadecimal; false if it is no number up to the largest parameter block. */
static bool number(struct token token, uint32_t *ret_value)
{
	char digits[16];
	char *end;
	unsigned long value;

	if (!token.length || token.length >= sizeof(digits) ||
		!isdigit((unsigned char)*token.start))
		return false;
	memcpy(digits, token.start, token.length);
	digits[token.length] = '\0';
	value = strtoul(digits, &end, 0);
	if ((*end && strcmp(end, "U")) || value > KV_LAYOUT_BYTES_MAX)
		return false;
	*ret_value = value;
	return true;
}

/* Bytes of a fundamental type, 0: no type. */
static uint32_t type_size(struct token token)
{
	static const struct {
		const char *name;
		uint32_t size;
	} types[] = {
		{".b8", 1},
		{".u8", 1},
		{".s8", 1},
		{".b16", 2},
		{".u16", 2},
		{".s16", 2},
		{".f16", 2},
		{".bf16", 2},
		{".b32", 4},
		{".u32", 4},
		{".s32", 4},
		{".f32", 4},
		{".f16x2", 4},
		{".bf16x2", 4},
		{".b64", 8},
		{".u64", 8},
		{".s64", 8},
		{".f64", 8},
		{".b128", 16},
		{".texref", 8},
		{".samplerref", 8},
		{".surfref", 8},
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (is(token, types[i].name))
			return types[i].size;
	return 0;
}

/*
 * One parameter, after its ".param": [.align N] type [.ptr [.space] [.align N]] name [ '[' N ']' ].
 * The alignment behind .ptr is that of what it points at. *ret_last is the token that ended it.
 */
static int read_param(
	struct text *t, uint32_t *ret_size, uint32_t *ret_align, struct token *ret_last)
{
	uint32_t align = 0, type = 0, count = 1;
	bool pointer = false;
	struct token token;

	for (token = next(t); token.length; token = next(t)) {
		uint32_t value;

		if (is(token, ",") || is(token, ")"))
			break;
		if (is(token, ".ptr")) {
			pointer = true;
		} else if (is(token, ".align")) {
			if (!number(next(t), &value) || !value || (value & (value - 1)))
				return -EBADMSG;
			if (!pointer)
				align = value;
		} else if (is(token, "[")) {
			if (!number(next(t), &count) || !count || !is(next(t), "]"))
				return -EBADMSG;
		} else if (*token.start == '.' && type_size(token)) {
			type = type_size(token);
		} else if (*token.start != '.' && !is_word(*token.start)) {
			return -EBADMSG;
		}
	}
	if (!type || !token.length)
		return -EBADMSG;
	*ret_size = type * count;
	*ret_align = align > type ? align : type;
	*ret_last = token;
	return *ret_size <= KV_LAYOUT_BYTES_MAX ? 0 : -EBADMSG;
}

/* The list after "(". */
static int read_params(struct text *t, struct kv_layout **ret_layout)
{
	struct kv_layout *layout = calloc(1, sizeof(*layout)), *grown;
	struct token token = next(t);
	uint32_t room = 0, end = 0;
	int err = -EBADMSG;

	if (!layout)
		return -ENOMEM;
	while (!is(token, ")")) {
		uint32_t size, align;

		if (!is(token, ".param") || read_param(t, &size, &align, &token))
			goto free_layout;
		if (layout->n_params == room) {
			room = room ? 2 * room : 8;
			err = -ENOMEM;
			grown = realloc(layout, sizeof(*layout) + room * sizeof(layout->params[0]));
			if (!grown)
				goto free_layout;
			layout = grown;
			err = -EBADMSG;
		}
		end = (end + align - 1) & ~(align - 1);
		layout->params[layout->n_params].offset = end;
		layout->params[layout->n_params].size = size;
		end += size;
		if (++layout->n_params > KV_LAYOUT_PARAMS_MAX || end > KV_LAYOUT_BYTES_MAX)
			goto free_layout;
		if (is(token, ",")) {
			token = next(t);
			if (is(token, ")"))
				goto free_layout;
		}
	}
	layout->params_size = end;
	*ret_layout = layout;
	return 0;

free_layout:
	free(layout);
	return err;
}

int kv_ptx_layout(const char *text, size_t size, const char *kernel, struct kv_layout **ret_layout)
{
	struct text t = {text, text + strnlen(text, size)};

	for (;;) {
		struct token token = next(&t);
		struct text after;

		if (!token.length)
			return -ENOENT;
		if (!is(token, ".entry") || !is(next(&t), kernel))
			continue;
		after = t;
		if (is(next(&after), "("))
			return read_params(&after, ret_layout);
		/* A kernel without parameters may have no list at all. */
		*ret_layout = calloc(1, sizeof(**ret_layout));
		return *ret_layout ? 0 : -ENOMEM;
	}
}

int kv_ptx_each(const char *text, size_t size,
	int (*visit)(void *ctx, const char *kernel, size_t length), void *ctx)
{
	struct text t = {text, text + strnlen(text, size)};
	struct token token;
	int err = 0;

	while (!err && (token = next(&t)).length) {
		if (!is(token, ".entry"))
			continue;
		token = next(&t);
		err = visit(ctx, token.start, token.length);
	}
	return err;
}
