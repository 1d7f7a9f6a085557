/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_rules.c - rule files from nowhere, and parameter blocks from nowhere against the rules that
 * are compiled in.
 *
 * Input that begins with "rules": a rule file; if it is accepted, every kernel of the list below is
 * looked up in it and launched with a block of small numbers. Other input: u8 which kernel, u8
 * flags (1: no shadows, 2: parameters as an array of pointers), six bytes of grid and threads, the
 * bytes of the block, repeated as needed; the same bytes are uploaded where each pointer of the
 * block says.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/rules/signature.h"
#include "shim/profiles/profiles.h"
#include "tests/fuzz/fuzz.h"
#include "tests/rules/vectors.h"

static const char *const names[] = {NAME_SET_ROWS, NAME_SET_ROWS_COUNTS, NAME_SET_ROWS_QUANT,
	NAME_ROPE, NAME_ROPE_SHIFT, NAME_NORM_ROPE, NAME_FLASH_VEC, NAME_FLASH_F16, NAME_FLASH_TILE,
	NAME_DEQUANTIZE_Q8, NAME_DEQUANTIZE, NAME_CONVERT_CONT, NAME_MUL_MAT_F, NAME_MUL_MAT_VEC_F,
	NAME_CPY_F32_Q, NAME_CPY_SCALAR, NAME_BATCHED_PTRS, "_Z1fI6__halfLi32EEvPT_lll5uint3",
	"_Z1fv"};
#define N_NAMES (sizeof(names) / sizeof(names[0]))

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct block {
	struct vector v;
	void *params[64]; /* one heap block each, of exactly its size */
};

/* Sizes and offsets as a compiler would lay the parameters out. */
static bool lay_out(const char *name, const uint8_t *data, size_t size, struct block *b)
{
	struct kv_signature s;

	if (kv_signature_parse(name, &s))
		return false;
	memset(b, 0, sizeof(*b));
	for (uint32_t i = 0; i < s.n_params; i++) {
		struct kv_text t = s.params[i];
		uint32_t bytes = t.at[t.length - 1] == '*' || kv_text_is(t, "long") ||
						 kv_text_is(t, "unsigned long")
					 ? 8
				 : kv_text_is(t, "uint3")                           ? 12
				 : kv_text_is(t, "rope_corr_dims")                  ? 8
				 : kv_text_is(t, "ggml_cuda_mm_fusion_args_device") ? 48
				 : kv_text_is(t, "bool")                            ? 1
										    : 4;
		uint32_t align = bytes == 8 || bytes == 48 ? 8 : bytes == 1 ? 1 : 4;

		b->v.size = (b->v.size + align - 1) / align * align;
		b->v.offsets[i] = b->v.size;
		b->v.sizes[i] = bytes;
		b->v.size += bytes;
		require(b->v.size <= sizeof(b->v.block));
	}
	b->v.n = s.n_params;
	kv_signature_free(&s);
	for (uint32_t i = 0; i < b->v.size; i++)
		b->v.block[i] = size ? data[i % size] : (uint8_t)(i % 3);
	return true;
}

static void check(const struct kv_reach *r)
{
	require(r->n_accesses <= KV_REACH_ACCESSES && r->n_extents <= KV_REACH_EXTENTS &&
		r->n_planes <= KV_REACH_PLANES && r->variant);
	for (uint32_t i = 0; i < r->n_accesses; i++) {
		const struct kv_access *a = &r->accesses[i];

		require(a->length && a->addr + a->length > a->addr);
		require(a->kind >= KV_ACCESS_READ && a->kind <= KV_ACCESS_WHOLE);
	}
	for (uint32_t i = 0; i < r->n_extents; i++)
		require(r->extents[i].plane <= r->extents[i].live &&
			r->extents[i].live <= r->extents[i].end);
}

static void launch(const struct kv_ruleset *set, const char *name, uint8_t flags,
	const uint8_t *shape, const uint8_t *data, size_t size)
{
	struct kv_shadows *shadows = NULL;
	struct kv_launch l = {0};
	struct kv_rule *rule;
	struct kv_reach r;
	struct block b;

	if (!lay_out(name, data, size, &b) ||
		kv_rule_match(set, name, b.v.n, b.v.sizes, &rule, NULL))
		return;
	if (!(flags & 1)) {
		struct kv_shadows_config config = {8, 4096, 16384, 16};

		require(!kv_shadows_new(&config, &shadows));
		for (uint32_t i = 0; size && i + 8 <= b.v.size; i += 8) {
			uint64_t at;

			memcpy(&at, b.v.block + i, 8);
			kv_shadows_upload(shadows, at, data, size < 4096 ? size : 4096);
		}
		require(!kv_shadows_check(shadows));
	}
	for (int i = 0; i < 3; i++) {
		l.grid[i] = shape ? shape[i] : 1;
		l.threads[i] = shape ? shape[3 + i] : 32;
	}
	/* The block is copied to the heap, so that a read past its end is seen. */
	l.block = memcpy(malloc(b.v.size ? b.v.size : 1), b.v.block, b.v.size);
	l.block_size = b.v.size;
	l.offsets = b.v.offsets;
	for (uint32_t i = 0; flags & 2 && i < b.v.n; i++)
		b.params[i] =
			memcpy(malloc(b.v.sizes[i]), b.v.block + b.v.offsets[i], b.v.sizes[i]);
	if (flags & 2)
		l.params = (const void *const *)b.params;
	if (!kv_rule_reach(rule, &l, shadows, 2 << 20, &r))
		check(&r);
	if (shadows)
		require(!kv_shadows_check(shadows));
	for (uint32_t i = 0; i < b.v.n; i++)
		free(b.params[i]);
	free((void *)l.block);
	kv_shadows_free(shadows);
	kv_rule_free(rule);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kv_ruleset *profile;
	struct kv_rules_error error;
	struct kv_ruleset *set;

	if (!profile)
		require(!kv_ruleset_parse(
			kv_profile_llama, kv_profile_llama_size, &profile, &error));
	if (size >= 5 && !memcmp(data, "rules", 5)) {
		int err = kv_ruleset_parse((const char *)data, size, &set, &error);

		if (err) {
			require(error.reason[0]);
			return 0;
		}
		for (size_t i = 0; i < N_NAMES; i++)
			launch(set, names[i], 0, NULL, NULL, 0);
		kv_ruleset_free(set);
	} else if (size > 8) {
		launch(profile, names[data[0] % N_NAMES], data[1], data + 2, data + 8, size - 8);
	}
	return 0;
}
