/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eval.c - what one launch touches. Runs on the launch path: no allocation, no lock, bounded work
 * (apart from the length of an index array).
 */
#include <errno.h>
#include <string.h>

#include "hooks/rules/rule.h"
#include "hooks/rules/shadow.h"

/* More blocks than this are not enumerated: the innermost dimension becomes one wide block. */
#define BLOCKS_MAX 1024
/* Every line of a rule may leave one access for itself and one for its index array. */
#define ROOM (KV_REACH_ACCESSES - 2 * KV_VARIANT_ACCESSES)
/* Below, nothing is mapped; above, no GPU addresses anything. */
#define ADDRESS_MIN 0x10000
#define ADDRESS_MAX (INT64_C(1) << 62)

struct evaluation {
	const struct kv_bound *bound;
	struct kv_expr_env env;
	struct kv_shadows *shadows;
	uint64_t grain;
	struct kv_reach *reach;
	uint32_t first; /* the accesses of this line of the rule begin here, sorted by address */
};

static int value(struct evaluation *e, struct kv_expr expr, int64_t *ret_value)
{
	return kv_expr_eval(e->bound->ops, expr, &e->env, ret_value);
}

/* A count, a stride or a length: not negative. */
static int amount(struct evaluation *e, struct kv_expr expr, int64_t *ret_value)
{
	int err = value(e, expr, ret_value);

	return err ? err : *ret_value < 0 ? -ENOTSUP : 0;
}

static int address(struct evaluation *e, struct kv_expr expr, int64_t *ret_value)
{
	int err = value(e, expr, ret_value);

	if (!err && (*ret_value < ADDRESS_MIN || *ret_value >= ADDRESS_MAX))
		err = -ENOTSUP;
	return err;
}

/* ---- collecting ranges ---- */

/* True if b begins in the last grain of a, or in the one after it, or before that. a begins first.
 */
static bool joins(const struct evaluation *e, const struct kv_access *a, uint64_t b)
{
	return b / e->grain <= (a->addr + a->length - 1) / e->grain + 1;
}

static void extend(struct kv_access *a, uint64_t addr, uint64_t length)
{
	uint64_t end = a->addr + a->length;

	if (addr + length > end)
		end = addr + length;
	if (addr < a->addr)
		a->addr = addr;
	a->length = end - a->addr;
}

/* No room: the accesses of this line become one that covers them all. */
static struct kv_access *collapse(struct evaluation *e)
{
	struct kv_reach *r = e->reach;
	struct kv_access *all = &r->accesses[e->first];

	for (uint32_t i = e->first + 1; i < r->n_accesses; i++)
		extend(all, r->accesses[i].addr, r->accesses[i].length);
	all->coarse = true;
	r->n_accesses = e->first + 1;
	return all;
}

static int add(struct evaluation *e, const struct kv_access_rule *rule, uint64_t addr,
	uint64_t length, bool coarse)
{
	struct kv_reach *r = e->reach;
	uint32_t low = e->first, high = r->n_accesses;
	struct kv_access *at;

	/* The first that begins behind addr. */
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (r->accesses[middle].addr <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	at = &r->accesses[low];
	if (low > e->first && joins(e, at - 1, addr)) {
		at--;
		extend(at, addr, length);
	} else if (r->n_accesses >= ROOM && r->n_accesses > e->first) {
		at = collapse(e);
		extend(at, addr, length);
	} else {
		memmove(at + 1, at, (r->n_accesses - low) * sizeof(*at));
		r->n_accesses++;
		*at = (struct kv_access){addr, length, rule->kind, rule->dead, false, rule->param};
	}
	at->coarse |= coarse;
	/* What comes behind may now be joined as well. */
	while (at + 1 < &r->accesses[r->n_accesses] && joins(e, at, at[1].addr)) {
		extend(at, at[1].addr, at[1].length);
		at->coarse |= at[1].coarse;
		memmove(at + 1, at + 2, (&r->accesses[r->n_accesses] - (at + 2)) * sizeof(*at));
		r->n_accesses--;
	}
	return 0;
}

/* ---- dimensions ---- */

struct extents {
	uint32_t n;
	int64_t count[KV_ACCESS_DIMS], stride[KV_ACCESS_DIMS]; /* by rising stride */
};

/* (count - 1) * stride + length */
static int span(int64_t count, int64_t stride, int64_t length, int64_t *ret_span)
{
	int64_t s;

	if (__builtin_mul_overflow(count - 1, stride, &s) ||
		__builtin_add_overflow(s, length, &s) || s >= ADDRESS_MAX)
		return -ENOTSUP;
	*ret_span = s;
	return 0;
}

/* Reads the dimensions that have more than one element. *ret_none: one has none at all. */
static int read_dims(
	struct evaluation *e, const struct kv_access_rule *rule, struct extents *x, bool *ret_none)
{
	*ret_none = false;
	x->n = 0;
	for (uint32_t i = 0; i < rule->n_dims; i++) {
		int64_t count, stride;
		uint32_t at;
		int err = amount(e, rule->dims[i].count, &count);

		if (!err)
			err = amount(e, rule->dims[i].stride, &stride);
		if (err)
			return err;
		if (!count)
			*ret_none = true;
		if (count < 2 || !stride)
			continue;
		for (at = x->n++; at && x->stride[at - 1] > stride; at--) {
			x->count[at] = x->count[at - 1];
			x->stride[at] = x->stride[at - 1];
		}
		x->count[at] = count;
		x->stride[at] = stride;
	}
	return 0;
}

/* Dimension i goes into the block. */
static int absorb(struct extents *x, uint32_t i, int64_t *block)
{
	int err = span(x->count[i], x->stride[i], *block, block);

	x->n--;
	memmove(&x->count[i], &x->count[i + 1], (x->n - i) * sizeof(x->count[0]));
	memmove(&x->stride[i], &x->stride[i + 1], (x->n - i) * sizeof(x->stride[0]));
	return err;
}

static int add_blocks(struct evaluation *e, const struct kv_access_rule *rule,
	const struct extents *x, int64_t base, int64_t block, int64_t n_blocks, bool coarse)
{
	for (int64_t i = 0; i < n_blocks; i++) {
		int64_t rest = i, addr = base;
		int err;

		for (uint32_t d = 0; d < x->n; d++) {
			int64_t step;

			if (__builtin_mul_overflow(rest % x->count[d], x->stride[d], &step) ||
				__builtin_add_overflow(addr, step, &addr) || addr >= ADDRESS_MAX)
				return -ENOTSUP;
			rest /= x->count[d];
		}
		err = add(e, rule, addr, block, coarse);
		if (err)
			return err;
	}
	return 0;
}

static int reach_dims(
	struct evaluation *e, const struct kv_access_rule *rule, int64_t base, int64_t block)
{
	bool none, coarse = false;
	struct extents x;
	int64_t n_blocks;
	int err = read_dims(e, rule, &x, &none);

	if (err || none || !block)
		return err;
	/* Gaps that are no wider than a grain are not gaps for whoever asks. */
	for (uint32_t i = 0; i < x.n;) {
		if (x.stride[i] > block && (uint64_t)(x.stride[i] - block) >= e->grain) {
			i++;
			continue;
		}
		err = absorb(&x, i, &block);
		if (err)
			return err;
		i = 0;
	}
	for (;;) {
		n_blocks = 1;
		for (uint32_t i = 0; i < x.n; i++)
			if (x.count[i] > BLOCKS_MAX || (n_blocks *= x.count[i]) > BLOCKS_MAX)
				n_blocks = BLOCKS_MAX + 1;
		if (n_blocks <= BLOCKS_MAX)
			break;
		err = absorb(&x, 0, &block);
		if (err)
			return err;
		coarse = true;
	}
	return add_blocks(e, rule, &x, base, block, n_blocks, coarse);
}

/* ---- index arrays ---- */

static int64_t index_at(const uint8_t *bytes, uint32_t width, int64_t i)
{
	int64_t wide;
	int32_t narrow;

	if (width == 8) {
		memcpy(&wide, bytes + 8 * i, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, bytes + 4 * i, sizeof(narrow));
	return narrow;
}

/* Rows index[i] * stride from base on; runs of rising indices are added at once. */
static int add_rows(struct evaluation *e, const struct kv_access_rule *rule, int64_t base,
	const uint8_t *index, int64_t count, int64_t stride, int64_t bytes, int64_t within)
{
	for (int64_t i = 0, run; i < count; i += run) {
		int64_t first = index_at(index, rule->index_width, i), at, length, end;
		int err;

		for (run = 1; i + run < count; run++)
			if (index_at(index, rule->index_width, i + run) != first + run)
				break;
		if (first < 0 || __builtin_mul_overflow(first, stride, &at) ||
			span(run, stride, bytes, &length) ||
			__builtin_add_overflow(at, length, &end) || end > within ||
			end >= ADDRESS_MAX - base)
			return -ENOTSUP;
		err = add(e, rule, base + at, length, false);
		if (err)
			return err;
	}
	return 0;
}

static int reach_rows(
	struct evaluation *e, const struct kv_access_rule *rule, int64_t base, int64_t bytes)
{
	int64_t index, count, stride, within = ADDRESS_MAX - base;
	struct kv_access_rule whole = *rule;
	struct kv_reach *r = e->reach;
	const uint8_t *content = NULL;
	int err = amount(e, rule->count, &count);

	if (!err)
		err = amount(e, rule->stride, &stride);
	if (!err && rule->within.n)
		err = amount(e, rule->within, &within);
	if (!err)
		err = address(e, rule->index, &index);
	if (err || !count || !bytes)
		return err;
	if (count > INT32_MAX || within > ADDRESS_MAX - base)
		return -ENOTSUP;
	if (rule->kind == KV_ACCESS_WRITE && r->n_planes < KV_REACH_PLANES)
		r->planes[r->n_planes++] = (struct kv_plane){base, stride};
	if (e->shadows)
		content = kv_shadows_consume(e->shadows, index, count * rule->index_width, base);
	if (r->n_uses < KV_REACH_USES)
		r->uses[r->n_uses] = (struct kv_index_use){
			index, base, count, stride, bytes, within, rule->index_width, content};
	r->n_uses++;
	whole.kind = KV_ACCESS_WHOLE;
	if (content)
		err = add_rows(e, rule, base, content, count, stride, bytes, within);
	else if (within)
		err = add(e, &whole, base, within, true);
	if (err)
		return err;
	/* The array itself is read, and may lie in a reservation as well. */
	e->first = r->n_accesses;
	whole.kind = KV_ACCESS_READ;
	whole.param = rule->index_param;
	return add(e, &whole, index, count * rule->index_width, false);
}

/* ---- one launch ---- */

static int reach_access(
	struct evaluation *e, const struct kv_rule *rule, const struct kv_access_rule *a)
{
	struct kv_reach *r = e->reach;
	int64_t base, bytes;
	int err = address(e, a->addr, &base);

	if (!err)
		err = amount(e, a->bytes, &bytes);
	if (!err && bytes >= ADDRESS_MAX - base)
		err = -ENOTSUP;
	if (err)
		return err;
	e->first = r->n_accesses;
	r->explained |= rule->words & 1ull << a->param;
	if (!a->index_width)
		return reach_dims(e, a, base, bytes);
	r->explained |= rule->words & 1ull << a->index_param;
	return reach_rows(e, a, base, bytes);
}

/* Extents only ever release: one that cannot be told is left out. */
static void reach_extent(struct evaluation *e, const struct kv_extent_rule *x)
{
	int64_t base, planes = 1, plane_stride = 0, rows, stride, length, live, at;
	struct kv_reach *r = e->reach;

	if (address(e, x->addr, &base) || amount(e, x->rows, &rows) ||
		amount(e, x->stride, &stride) || amount(e, x->length, &length) ||
		(x->planes.n && (amount(e, x->planes, &planes) ||
					amount(e, x->plane_stride, &plane_stride))))
		return;
	if (!stride || __builtin_mul_overflow(rows, stride, &live) || live > length)
		return;
	for (int64_t i = 0; i < planes && r->n_extents < KV_REACH_EXTENTS; i++) {
		if (__builtin_mul_overflow(i, plane_stride, &at) ||
			__builtin_add_overflow(at, base, &at) || at >= ADDRESS_MAX - length)
			return;
		r->extents[r->n_extents++] = (struct kv_extent){at, at + live, at + length, stride};
	}
}

static int reach_variant(struct evaluation *e, const struct kv_rule *rule)
{
	const struct kv_variant *v = e->bound->variant;
	struct kv_reach *r = e->reach;
	int64_t holds;
	int err;

	for (uint32_t i = 0; i < v->n_lets; i++) {
		err = value(e, v->lets[i], &e->env.lets[i]);
		if (err)
			return err;
	}
	for (uint32_t i = 0; i < v->n_requires; i++) {
		if (value(e, v->requires[i], &holds) || !holds)
			return -ENOTSUP;
	}
	r->explained = 0;
	r->variant = v->name;
	r->n_accesses = r->n_extents = r->n_planes = r->n_uses = 0;
	for (uint32_t i = 0; i < v->n_accesses; i++) {
		err = reach_access(e, rule, &v->accesses[i]);
		if (err)
			return err;
	}
	for (uint32_t i = 0; i < v->n_extents; i++)
		reach_extent(e, &v->extents[i]);
	/* What the launch itself touches there is not all that follows from it. */
	r->explained &= ~v->keeps;
	return 0;
}

int kv_rule_reach(const struct kv_rule *rule, const struct kv_launch *launch,
	struct kv_shadows *shadows, uint64_t grain, struct kv_reach *ret_reach)
{
	struct evaluation e = {
		.env.launch = launch, .shadows = shadows, .grain = grain, .reach = ret_reach};

	for (uint32_t i = 0; i < rule->n_bound; i++) {
		e.bound = &rule->bound[i];
		if (!reach_variant(&e, rule))
			return 0;
	}
	return -ENOTSUP;
}
