/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature.h - a kernel's name taken apart: family, template arguments, parameter types.
 *
 * The mangled name is demangled by __cxa_demangle() of the compiler's own libsupc++, linked in
 * static and hidden. The text is the program's, so hostile: lengths and counts are bounded.
 */
#ifndef KV_RULES_SIGNATURE_H
#define KV_RULES_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	KV_SIGNATURE_TEMPLATE = 16,
	KV_SIGNATURE_PARAMS = 64,
	/* Longer names belong to template libraries, whose kernels no rule names. */
	KV_MANGLED_MAX = 2048,
};

struct kv_text {
	const char *at;
	size_t length;
};

struct kv_signature {
	char *demangled;     /* owned; everything below points into it */
	struct kv_text name; /* without namespaces that the compiler made up */
	uint32_t n_template, n_params;
	struct kv_text template_args[KV_SIGNATURE_TEMPLATE];
	struct kv_text params[KV_SIGNATURE_PARAMS]; /* types, as the demangler writes them */
};

/*
 * Takes a mangled name apart. On success the caller frees with kv_signature_free(). -EINVAL: not a
 * mangled function name that can be taken apart, or too long, or too many parts. -ENOMEM.
 */
int kv_signature_parse(const char *mangled, struct kv_signature *ret_signature);
/* The same for text that is demangled already (copied). */
int kv_signature_parse_text(const char *demangled, struct kv_signature *ret_signature);
void kv_signature_free(struct kv_signature *signature);

/*
 * True if mangled contains name as an identifier, as the mangling writes it (its length in
 * decimals, then the name). Cheap; a kernel for which it is false cannot be called name.
 */
bool kv_mangled_has(const char *mangled, const char *name);

/* Whether two pieces of text are equal. */
bool kv_text_equal(struct kv_text a, struct kv_text b);
bool kv_text_is(struct kv_text a, const char *b);

#endif
