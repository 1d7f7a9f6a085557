/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_ptx.c - kernels, parameter layouts and globals out of PTX text.
 *
 * Only what stands at module level is read: .entry heads with their .param lists, and .global and
 * .const declarations. Bodies are skipped brace by brace. A parameter's place follows from the ones
 * before it: its own alignment, or its size when it says none.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image_parts.h"

struct text {
	const char *at, *end;
};

/* One word (letters, digits, . _ $ %) or one other character. length 0: the end. */
struct word {
	const char *at;
	size_t length;
};

static void skip_blank(struct text *t)
{
	while (t->at < t->end) {
		if (isspace((unsigned char)*t->at)) {
			t->at++;
		} else if (t->end - t->at > 1 && t->at[0] == '/' && t->at[1] == '/') {
			const char *nl = memchr(t->at, '\n', (size_t)(t->end - t->at));
			t->at = nl ? nl + 1 : t->end;
		} else if (t->end - t->at > 1 && t->at[0] == '/' && t->at[1] == '*') {
			const char *close =
				memmem(t->at + 2, (size_t)(t->end - t->at - 2), "*/", 2);
			t->at = close ? close + 2 : t->end;
		} else {
			return;
		}
	}
}

static bool in_word(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '$' || c == '%';
}

static struct word next_word(struct text *t)
{
	skip_blank(t);
	struct word w = {.at = t->at};
	while (t->at < t->end && in_word(*t->at))
		t->at++;
	if (t->at == w.at && t->at < t->end)
		t->at++;
	w.length = (size_t)(t->at - w.at);
	return w;
}

static bool word_is(struct word w, const char *s)
{
	return w.length == strlen(s) && !memcmp(w.at, s, w.length);
}

/* Skips to behind the `close` that matches an `open` already read; strings and comments do not
 * count. */
static void skip_block(struct text *t, char open, char close)
{
	for (int depth = 1; t->at < t->end && depth;) {
		char c = *t->at;
		if (c == '/' && t->end - t->at > 1 && (t->at[1] == '/' || t->at[1] == '*')) {
			skip_blank(t);
			continue;
		}
		t->at++;
		if (c == '"') {
			const char *quote = memchr(t->at, '"', (size_t)(t->end - t->at));
			t->at = quote ? quote + 1 : t->end;
		} else if (c == open) {
			depth++;
		} else if (c == close) {
			depth--;
		}
	}
}

/* Bytes of a fundamental type (".u64"); 0: no type. */
static uint32_t type_bytes(struct word w)
{
	static const struct {
		const char *name;
		uint32_t bytes;
	} types[] = {{".b8", 1}, {".u8", 1}, {".s8", 1}, {".b16", 2}, {".u16", 2}, {".s16", 2},
		{".f16", 2}, {".bf16", 2}, {".b32", 4}, {".u32", 4}, {".s32", 4}, {".f32", 4},
		{".f16x2", 4}, {".b64", 8}, {".u64", 8}, {".s64", 8}, {".f64", 8}, {".b128", 16},
		{".texref", 8}, {".samplerref", 8}, {".surfref", 8}};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (word_is(w, types[i].name))
			return types[i].bytes;
	return 0;
}

/* A declaration behind its state space: ".align 8 .b8 name[48]", ".u64 .ptr .align 1 name". */
struct declaration {
	struct word name;
	uint32_t align;
	uint64_t bytes;
};

static uint64_t word_number(struct word w)
{
	char digits[24] = {0};

	memcpy(digits, w.at, w.length < sizeof(digits) ? w.length : sizeof(digits) - 1);
	return strtoull(digits, NULL, 0);
}

/* Reads one and stops before the character that ends it. -EINVAL: not a declaration. */
static int read_declaration(struct text *t, struct declaration *ret)
{
	uint32_t type = 0, lanes = 1;
	bool pointer = false;

	memset(ret, 0, sizeof(*ret));
	for (;;) {
		struct text back = *t;
		struct word w = next_word(t);

		if (!w.length)
			return -EINVAL;
		if (word_is(w, ".ptr")) {
			pointer = true; /* an .align behind it speaks of what it points to */
		} else if (word_is(w, ".align")) {
			uint64_t n = word_number(next_word(t));
			if (!pointer)
				ret->align = (uint32_t)n;
		} else if (word_is(w, ".v2") || word_is(w, ".v4")) {
			lanes = (uint32_t)(w.at[2] - '0');
		} else if (word_is(w, ".attribute")) {
			next_word(t);
			skip_block(t, '(', ')');
		} else if (type_bytes(w)) {
			type = type_bytes(w);
		} else if (w.at[0] != '.' && in_word(w.at[0])) {
			ret->name = w;
			break;
		} else if (w.at[0] != '.') {
			*t = back;
			return -EINVAL;
		}
	}
	if (!type)
		return -EINVAL;
	ret->bytes = (uint64_t)type * lanes;
	if (!ret->align)
		ret->align = type * lanes;
	for (;;) {
		struct text back = *t;
		if (!word_is(next_word(t), "[")) {
			*t = back;
			break;
		}
		struct word n = next_word(t);
		ret->bytes *= word_is(n, "]") ? 0 : word_number(n);
		if (!word_is(n, "]"))
			next_word(t);
	}
	return ret->align & (ret->align - 1) ? -EINVAL : 0;
}

/* Behind ".entry". */
static int read_entry(struct image_builder *b, struct text *t)
{
	struct word name = next_word(t);
	struct text back = *t;
	uint32_t n = 0;
	uint64_t offset = 0;

	if (!name.length || !in_word(name.at[0]))
		return -EINVAL;
	struct sim_kernel *kernel = image_add_kernel(b, name.at, name.length);
	if (!kernel)
		return -ENOMEM;
	if (!word_is(next_word(t), "(")) {
		*t = back;
		return 0;
	}
	for (;;) {
		struct declaration d;
		struct word w = next_word(t);

		if (word_is(w, ")"))
			break;
		if (word_is(w, ","))
			continue;
		if (!word_is(w, ".param") || read_declaration(t, &d))
			return -EINVAL;
		offset = (offset + d.align - 1) & ~(uint64_t)(d.align - 1);
		if (offset + d.bytes > UINT16_MAX)
			return -EINVAL;
		int ret = image_set_param(kernel, n++, (uint32_t)offset, (uint32_t)d.bytes);
		if (ret)
			return ret;
		offset += d.bytes;
	}
	kernel->params_size = (uint32_t)offset;
	return 0;
}

int image_read_ptx(struct image_builder *b, const char *text, size_t size)
{
	const char *nul = memchr(text, 0, size);
	struct text t = {.at = text, .end = nul ? nul : text + size};
	bool is_extern = false, versioned = false;

	for (;;) {
		struct word w = next_word(&t);
		int ret = 0;

		if (!w.length)
			break;
		if (!versioned) {
			/* PTX must say its version before anything else: what does not is no PTX.
			 */
			if (!word_is(w, ".version"))
				return -EINVAL;
			versioned = true;
		} else if (word_is(w, ".extern")) {
			is_extern = true;
			continue;
		} else if (word_is(w, ".target")) {
			struct word sm = next_word(&t);
			if (sm.length > 3 && !b->image->sm && !memcmp(sm.at, "sm_", 3))
				b->image->sm = atoi(sm.at + 3);
		} else if (word_is(w, ".entry")) {
			ret = read_entry(b, &t);
		} else if ((word_is(w, ".global") || word_is(w, ".const")) && !is_extern) {
			struct declaration d;
			ret = read_declaration(&t, &d);
			if (!ret)
				ret = image_add_global(b, d.name.at, d.name.length, d.bytes);
		} else if (word_is(w, "{")) {
			skip_block(&t, '{', '}');
		} else if (word_is(w, "(")) {
			skip_block(&t, '(', ')');
		} else if (w.at[0] == '.' || !word_is(w, ";")) {
			continue; /* linkage, types, names: is_extern holds until the declaration
				     ends */
		}
		if (ret)
			return ret;
		is_extern = false;
	}
	return versioned ? 0 : -EINVAL;
}
