/* SPDX-License-Identifier: Apache-2.0 */
/* graph_steady.c - see graph_steady.h. */
#include "hooks/graph_steady.h"

#include "hooks/planes.h"

#include <stdlib.h>
#include <string.h>

/* Of one graph; one with more is evaluated in full each time. */
#define KILLS_MAX (1u << 18)

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

void kv_steady_clear(struct kv_steady *s, struct kv_quick *quick)
{
	kv_quick_leave(quick, s->number);
	free(s->groups);
	free(s->kills);
	memset(s, 0, sizeof(*s));
}

/* ---- evaluated in full ---- */

void kv_steady_begin(struct kv_steady *s, uint64_t losses)
{
	bool keep = s->valid && s->losses == losses;

	s->valid = s->never = false;
	s->n_kills = 0;
	s->losses = losses;
	for (uint32_t i = 0; i < s->n_groups; i++) {
		struct kv_group *g = &s->groups[i];

		g->n_kept = keep ? g->n_windows : 0;
		memcpy(g->kept, g->windows, g->n_kept * sizeof(g->kept[0]));
		g->n_windows = 0;
		g->position = 0;
		g->use.known = false; /* not met yet */
	}
}

void kv_steady_kill(struct kv_steady *s, uint64_t addr, uint64_t length, uint32_t position)
{
	struct kv_kill *last = s->n_kills ? &s->kills[s->n_kills - 1] : NULL;
	uint64_t end = length > UINT64_MAX - addr ? UINT64_MAX : addr + length;

	if (s->never || (last && last->addr == addr && last->end == end))
		return;
	if (s->n_kills == s->kills_size) {
		uint32_t size = s->kills_size ? 2 * s->kills_size : 256;
		struct kv_kill *grown =
			size <= KILLS_MAX ? realloc(s->kills, size * sizeof(*grown)) : NULL;

		if (!grown) {
			s->never = true;
			return;
		}
		s->kills = grown;
		s->kills_size = size;
	}
	s->kills[s->n_kills++] = (struct kv_kill){addr, end, position};
}

static bool same_geometry(const struct kv_index_use *a, const struct kv_index_use *b)
{
	return a->index == b->index && a->count == b->count && a->stride == b->stride &&
	       a->bytes == b->bytes && a->within == b->within && a->width == b->width;
}

static struct kv_group *group_of(struct kv_steady *s, const struct kv_index_use *use)
{
	for (uint32_t i = 0; i < s->n_groups; i++)
		if (same_geometry(&s->groups[i].use, use))
			return &s->groups[i];
	if (!s->groups)
		s->groups = calloc(KV_STEADY_GROUPS, sizeof(*s->groups));
	if (!s->groups || s->n_groups == KV_STEADY_GROUPS)
		return NULL;
	s->groups[s->n_groups] = (struct kv_group){.use = *use};
	s->groups[s->n_groups].use.known = false;
	return &s->groups[s->n_groups++];
}

/* What is in both lists. */
static uint32_t intersect(const struct kv_window *a, uint32_t n_a, const struct kv_window *b,
	uint32_t n_b, struct kv_window *ret)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_a; i++) {
		for (uint32_t k = 0; k < n_b && n < KV_STEADY_WINDOWS; k++) {
			struct kv_window w = {a[i].low > b[k].low ? a[i].low : b[k].low,
				a[i].high < b[k].high ? a[i].high : b[k].high};

			if (w.low < w.high)
				ret[n++] = w;
		}
	}
	return n;
}

void kv_steady_use(struct kv_steady *s, const struct kv_index_use *use, uint32_t position,
	const struct kv_window *windows, uint32_t n_windows)
{
	struct kv_window both[KV_STEADY_WINDOWS];
	struct kv_group *g = s->never ? NULL : group_of(s, use);

	if (!g) {
		s->never = true;
		return;
	}
	if (position > g->position)
		g->position = position;
	if (n_windows > KV_STEADY_WINDOWS)
		n_windows = KV_STEADY_WINDOWS;
	if (!g->use.known) {
		g->use = *use;
		g->use.known = true;
		g->n_windows = n_windows;
		memcpy(g->windows, windows, n_windows * sizeof(*windows));
		return;
	}
	g->n_windows = intersect(g->windows, g->n_windows, windows, n_windows, both);
	memcpy(g->windows, both, g->n_windows * sizeof(both[0]));
}

/* Adds a window that was good before, as far as there is room. */
static void keep_window(struct kv_group *g, struct kv_window w)
{
	for (uint32_t i = 0; i < g->n_windows; i++) {
		struct kv_window *at = &g->windows[i];

		if (w.low > at->high || at->low > w.high)
			continue;
		w.low = w.low < at->low ? w.low : at->low;
		w.high = w.high > at->high ? w.high : at->high;
		*at = g->windows[--g->n_windows];
		i = UINT32_MAX; /* from the start: w has grown */
	}
	if (g->n_windows < KV_STEADY_WINDOWS)
		g->windows[g->n_windows++] = w;
}

static int by_address(const void *a, const void *b)
{
	const struct kv_kill *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static void merge_kills(struct kv_steady *s)
{
	uint32_t n = 0;

	if (!s->n_kills)
		return;
	qsort(s->kills, s->n_kills, sizeof(*s->kills), by_address);
	for (uint32_t i = 1; i < s->n_kills; i++) {
		struct kv_kill *last = &s->kills[n], *k = &s->kills[i];

		if (k->addr >= last->end) {
			s->kills[++n] = *k;
			continue;
		}
		last->end = last->end > k->end ? last->end : k->end;
		last->position = last->position < k->position ? last->position : k->position;
	}
	s->n_kills = n + 1;
}

void kv_steady_end(
	struct kv_steady *s, const struct kv_shadows *shadows, struct kv_quick *quick, bool ok)
{
	uint32_t n = 0;

	if (!ok || s->never)
		return;
	/* Groups that no node belongs to any more go. */
	for (uint32_t i = 0; i < s->n_groups; i++) {
		if (!s->groups[i].use.known)
			continue;
		if (n != i)
			s->groups[n] = s->groups[i];
		n++;
	}
	s->n_groups = n;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < s->groups[i].n_kept; k++)
			keep_window(&s->groups[i], s->groups[i].kept[k]);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < s->groups[i].n_windows; k++) {
			struct kv_window *w = &s->groups[i].windows[k];

			w->reach =
				kv_planes_reach(w->low, w->high, s->groups[i].use.stride, s->grid);
		}
	merge_kills(s);
	SET(s->seen, shadows ? kv_shadows_last(shadows) : 0);
	if (!s->number && quick)
		s->number = kv_quick_enter(quick, s);
	s->valid = true;
}

/* ---- nothing new ---- */

/* The first place that ends behind addr; n_kills: none. */
static uint32_t first_behind(const struct kv_steady *s, uint64_t addr)
{
	uint32_t low = 0, high = s->n_kills;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (s->kills[middle].end > addr)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool dies(void *ctx, uint64_t addr, uint64_t length)
{
	const struct kv_steady *s = ctx;
	uint32_t i = first_behind(s, addr);

	return i < s->n_kills && s->kills[i].addr < addr + length;
}

/* True if a node writes into the shadow before the group has read its array there. */
static bool dies_before(
	const struct kv_steady *s, uint64_t addr, uint64_t length, uint32_t position)
{
	for (uint32_t i = first_behind(s, addr); i < s->n_kills; i++) {
		if (s->kills[i].addr >= addr + length)
			break;
		if (s->kills[i].position < position)
			return true;
	}
	return false;
}

/* ahead: bytes beyond the row that will be written before long. Whoever plans for them is told once
 * of each window: by false. */
static bool in_windows(struct kv_group *g, uint64_t row, uint64_t ahead)
{
	uint64_t low, high;

	if (__builtin_mul_overflow(row, g->use.stride, &low) ||
		__builtin_add_overflow(low, g->use.bytes, &high) || high > g->use.within)
		return false;
	for (uint32_t i = 0; i < g->n_windows; i++)
		if (low >= g->windows[i].low && high <= g->windows[i].high) {
			if (!ahead || high + ahead <= g->windows[i].reach ||
				low >= g->windows[i].reach || g->told == g->windows[i].reach)
				return true;
			g->told = g->windows[i].reach;
			return false;
		}
	return false;
}

static bool rows_have_memory(struct kv_group *g, const uint8_t *content, bool look_ahead)
{
	uint64_t ahead = look_ahead ? 2 * g->use.count * g->use.stride : 0;

	for (uint64_t i = 0; i < g->use.count; i++) {
		uint64_t wide;
		int32_t narrow;

		if (g->use.width == 8) {
			memcpy(&wide, content + 8 * i, sizeof(wide));
		} else {
			memcpy(&narrow, content + 4 * i, sizeof(narrow));
			wide = (uint64_t)(int64_t)narrow; /* below zero: far too large */
		}
		if (!in_windows(g, wide, ahead))
			return false;
	}
	return true;
}

/* The launch reads its arrays, which nobody reads again, and writes over what dies. */
static void take(struct kv_steady *s, struct kv_shadows *shadows)
{
	for (uint32_t i = 0; i < s->n_groups; i++) {
		const struct kv_index_use *use = &s->groups[i].use;

		/* What cannot be remembered as read is not remembered at all. */
		if (!kv_shadows_consume(shadows, use->index, use->count * use->width, use->base))
			kv_shadows_kill(shadows, use->index, use->count * use->width);
	}
	if (shadows)
		SET(s->seen, kv_shadows_sweep(shadows, GET(s->seen), dies, s));
}

bool kv_steady_launch(struct kv_steady *s, struct kv_shadows *shadows, uint64_t losses)
{
	if (!s->valid || s->losses != losses || (s->n_groups && !shadows))
		return false;
	for (uint32_t i = 0; i < s->n_groups; i++) {
		struct kv_group *g = &s->groups[i];
		uint64_t start, length;
		const void *content = kv_shadows_peek(shadows, g->use.index,
			g->use.count * g->use.width, g->use.base, &start, &length);

		if (!content || dies_before(s, start, length, g->position) ||
			!rows_have_memory(g, content, s->look_ahead))
			return false;
	}
	take(s, shadows);
	return true;
}

/* ---- the same without the mutex ---- */

static enum kv_glance glance_at_group(
	const struct kv_steady *s, struct kv_group *g, const struct kv_quick *quick)
{
	uint8_t content[KV_QUICK_BYTES];
	uint64_t length, bytes;

	if (__builtin_mul_overflow(g->use.count, g->use.width, &bytes) ||
		!kv_quick_read(quick, g->use.index, bytes, content, &length))
		return KV_GLANCE_ASK;
	if (dies_before(s, g->use.index, length, g->position) ||
		!rows_have_memory(g, content, s->look_ahead))
		return KV_GLANCE_EVALUATE;
	return KV_GLANCE_DONE;
}

enum kv_glance kv_steady_glance(struct kv_steady *s, struct kv_quick *quick, uint64_t losses)
{
	enum kv_glance answer = KV_GLANCE_DONE;
	uint64_t state;

	if (!s->valid || s->losses != losses)
		return KV_GLANCE_EVALUATE;
	/* Nothing to read, and nothing new that it could write over. */
	if (!s->n_groups && GET(s->seen) == GET(quick->last))
		return KV_GLANCE_DONE;
	if (!kv_quick_begin(quick, &state))
		return KV_GLANCE_ASK;
	for (uint32_t i = 0; i < s->n_groups && answer == KV_GLANCE_DONE; i++)
		answer = glance_at_group(s, &s->groups[i], quick);
	if (answer == KV_GLANCE_DONE && !kv_quick_claim(quick, state, s->number))
		answer = KV_GLANCE_ASK;
	return answer;
}

void kv_steady_settle(struct kv_steady *s, struct kv_shadows *shadows)
{
	take(s, shadows);
}
