/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shadow.c - see shadow.h. Shadows never overlap: a treap over their start addresses, with the
 * nodes in one array; a list in upload order (oldest first); a hash table of what was consumed,
 * whose stale entries are told by their serial numbers and overwritten.
 */
#include "hooks/rules/shadow.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/grains.h"
#include "hooks/rules/quick.h"

#define NIL UINT32_MAX
#define PROBES 16u

struct shadow {
	uint64_t addr, length, serial; /* length 0: free */
	uint8_t *bytes;                /* owned; kept, with its capacity, when the shadow goes */
	uint64_t capacity;
	uint32_t left, right, priority;
	uint32_t older, newer; /* in upload order; free ones are chained by newer */
};

struct consumed {
	uint64_t serial, plane; /* serial 0: never used */
	uint32_t shadow;
};

struct kv_shadows {
	struct kv_shadows_config config;
	struct kv_shadows_stats stats;
	uint64_t capacity_bytes; /* of all bytes arrays */
	uint64_t last_serial;
	uint32_t root, oldest, newest, free;
	uint32_t random;
	uint32_t consumed_mask;
	struct consumed *consumed;
	struct shadow nodes[];
};

int kv_shadows_new(const struct kv_shadows_config *config, struct kv_shadows **ret_shadows)
{
	uint32_t n_consumed = 16;
	struct kv_shadows *s;

	if (!config->n_shadows || config->n_shadows > UINT16_MAX || !config->upload_bytes ||
		config->total_bytes < config->upload_bytes || config->n_consumed > 1u << 24)
		return -EINVAL;
	while (n_consumed < config->n_consumed)
		n_consumed *= 2;
	s = calloc(1, sizeof(*s) + config->n_shadows * sizeof(s->nodes[0]));
	if (!s)
		return -ENOMEM;
	s->consumed = calloc(n_consumed, sizeof(*s->consumed));
	if (!s->consumed) {
		free(s);
		return -ENOMEM;
	}
	s->config = *config;
	s->consumed_mask = n_consumed - 1;
	s->random = 0x9e3779b9u;
	s->root = s->oldest = s->newest = NIL;
	for (uint32_t i = 0; i < config->n_shadows; i++)
		s->nodes[i].newer = i + 1 < config->n_shadows ? i + 1 : NIL;
	*ret_shadows = s;
	return 0;
}

void kv_shadows_free(struct kv_shadows *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->config.n_shadows; i++)
		free(s->nodes[i].bytes);
	free(s->consumed);
	free(s);
}

/* ---- the treap: depth is O(log n) with overwhelming probability ---- */

/* Splits t into those that start before addr and the others. */
static void split(
	struct kv_shadows *s, uint32_t t, uint64_t addr, uint32_t *ret_low, uint32_t *ret_high)
{
	while (t != NIL) {
		struct shadow *node = &s->nodes[t];

		if (node->addr < addr) {
			*ret_low = t;
			ret_low = &node->right;
			t = node->right;
		} else {
			*ret_high = t;
			ret_high = &node->left;
			t = node->left;
		}
	}
	*ret_low = *ret_high = NIL;
}

/* All of low start before all of high. */
static uint32_t merge(struct kv_shadows *s, uint32_t low, uint32_t high)
{
	uint32_t root = NIL, *at = &root;

	while (low != NIL && high != NIL) {
		if (s->nodes[low].priority >= s->nodes[high].priority) {
			*at = low;
			at = &s->nodes[low].right;
			low = *at;
		} else {
			*at = high;
			at = &s->nodes[high].left;
			high = *at;
		}
	}
	*at = low != NIL ? low : high;
	return root;
}

/* The last shadow that starts at or before addr. */
static uint32_t floor_of(const struct kv_shadows *s, uint64_t addr)
{
	uint32_t found = NIL;

	for (uint32_t t = s->root; t != NIL;) {
		if (s->nodes[t].addr <= addr) {
			found = t;
			t = s->nodes[t].right;
		} else {
			t = s->nodes[t].left;
		}
	}
	return found;
}

/* The first shadow with a byte in [addr, end). */
static uint32_t overlapping(const struct kv_shadows *s, uint64_t addr, uint64_t end)
{
	uint32_t t = floor_of(s, addr), found = NIL;

	if (t != NIL && addr - s->nodes[t].addr < s->nodes[t].length)
		return t;
	for (t = s->root; t != NIL;) {
		if (s->nodes[t].addr >= addr) {
			found = t;
			t = s->nodes[t].left;
		} else {
			t = s->nodes[t].right;
		}
	}
	return found != NIL && s->nodes[found].addr < end ? found : NIL;
}

static void tree_remove(struct kv_shadows *s, uint32_t i)
{
	uint32_t low, middle, high;

	split(s, s->root, s->nodes[i].addr, &low, &high);
	split(s, high, s->nodes[i].addr + 1, &middle, &high);
	s->root = merge(s, low, high);
}

static void tree_insert(struct kv_shadows *s, uint32_t i)
{
	uint32_t low, high;

	split(s, s->root, s->nodes[i].addr, &low, &high);
	s->nodes[i].left = s->nodes[i].right = NIL;
	s->root = merge(s, merge(s, low, i), high);
}

/* ---- the list ---- */

static void list_remove(struct kv_shadows *s, uint32_t i)
{
	struct shadow *node = &s->nodes[i];

	*(node->older != NIL ? &s->nodes[node->older].newer : &s->oldest) = node->newer;
	*(node->newer != NIL ? &s->nodes[node->newer].older : &s->newest) = node->older;
}

static void list_append(struct kv_shadows *s, uint32_t i)
{
	s->nodes[i].older = s->newest;
	s->nodes[i].newer = NIL;
	*(s->newest != NIL ? &s->nodes[s->newest].newer : &s->oldest) = i;
	s->newest = i;
}

/* ---- marks ---- */

/* Counts up or down in each grain of the shadow. A counter that is full stays so. */
static void mark(const struct kv_shadows *s, uint64_t addr, uint64_t length, int delta)
{
	uint64_t last = (addr + length - 1) >> KV_SHADOW_GRAIN_BITS;

	if (s->config.near)
		kv_grains_count(s->config.near, KV_SHADOW_GRAIN_BITS, addr, addr + length, delta);
	if (!s->config.marks)
		return;
	for (uint64_t grain = addr >> KV_SHADOW_GRAIN_BITS; grain <= last; grain++) {
		_Atomic uint8_t *at = &s->config.marks[grain & (KV_SHADOW_MARKS - 1)];
		uint8_t n = atomic_load_explicit(at, memory_order_relaxed);

		if (n != UINT8_MAX)
			atomic_store_explicit(at, (uint8_t)(n + delta), memory_order_relaxed);
	}
}

/* ---- shadows ---- */

static void forget(struct kv_shadows *s, uint32_t i)
{
	struct shadow *node = &s->nodes[i];

	mark(s, node->addr, node->length, -1);
	if (s->config.quick)
		kv_quick_drop(s->config.quick, node->addr);
	tree_remove(s, i);
	list_remove(s, i);
	s->stats.n--;
	s->stats.bytes -= node->length;
	node->length = 0;
	node->serial = 0;
	node->newer = s->free;
	s->free = i;
}

/* Returns how many went. */
static uint64_t forget_range(struct kv_shadows *s, uint64_t addr, uint64_t length)
{
	uint64_t end = length > UINT64_MAX - addr ? UINT64_MAX : addr + length, n = 0;
	uint32_t i;

	for (; length && (i = overlapping(s, addr, end)) != NIL; n++)
		forget(s, i);
	return n;
}

void kv_shadows_kill(struct kv_shadows *s, uint64_t addr, uint64_t length)
{
	s->stats.killed += forget_range(s, addr, length);
}

void kv_shadows_point(struct kv_shadows *s, uint64_t addr)
{
	uint32_t i = floor_of(s, addr);

	if (i == NIL || addr - s->nodes[i].addr >= s->nodes[i].length)
		return;
	forget(s, i);
	s->stats.killed++;
}

void kv_shadows_clear(struct kv_shadows *s)
{
	while (s->oldest != NIL) {
		forget(s, s->oldest);
		s->stats.killed++;
	}
}

/* Room for length bytes in node i. False: no memory, or not within the limits. */
static bool make_room(struct kv_shadows *s, uint32_t i, uint64_t length)
{
	struct shadow *node = &s->nodes[i];
	uint8_t *bytes;

	if (node->capacity >= length)
		return true;
	free(node->bytes);
	s->capacity_bytes -= node->capacity;
	node->bytes = NULL;
	node->capacity = 0;
	/* Bytes kept by free nodes go first, then the oldest shadows. */
	for (uint32_t f = s->free; f != NIL && s->capacity_bytes + length > s->config.total_bytes;
		f = s->nodes[f].newer) {
		s->capacity_bytes -= s->nodes[f].capacity;
		free(s->nodes[f].bytes);
		s->nodes[f].bytes = NULL;
		s->nodes[f].capacity = 0;
	}
	while (s->capacity_bytes + length > s->config.total_bytes && s->oldest != NIL) {
		uint32_t old = s->oldest;

		forget(s, old);
		s->stats.dropped++;
		s->capacity_bytes -= s->nodes[old].capacity;
		free(s->nodes[old].bytes);
		s->nodes[old].bytes = NULL;
		s->nodes[old].capacity = 0;
	}
	bytes = malloc(length);
	if (!bytes)
		return false;
	node->bytes = bytes;
	node->capacity = length;
	s->capacity_bytes += length;
	return true;
}

/* A node off the free list with room for length bytes; NIL: none. */
static uint32_t take_node(struct kv_shadows *s, uint64_t length)
{
	uint32_t i;

	if (s->free == NIL) {
		forget(s, s->oldest);
		s->stats.dropped++;
	}
	i = s->free;
	s->free = s->nodes[i].newer;
	if (make_room(s, i, length))
		return i;
	s->nodes[i].newer = s->free;
	s->free = i;
	s->stats.dropped++;
	return NIL;
}

/* dst is free of shadows; node i holds the content. */
static void publish(struct kv_shadows *s, uint32_t i, uint64_t dst, uint64_t length)
{
	struct shadow *node = &s->nodes[i];

	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	node->addr = dst;
	node->length = length;
	node->serial = ++s->last_serial;
	node->priority = s->random;
	tree_insert(s, i);
	list_append(s, i);
	mark(s, dst, length, 1);
	if (s->config.quick)
		kv_quick_put(s->config.quick, dst, node->bytes, length, node->serial);
	s->stats.n++;
	s->stats.bytes += length;
}

void kv_shadows_upload(struct kv_shadows *s, uint64_t dst, const void *host, uint64_t length)
{
	uint32_t i;

	forget_range(s, dst, length);
	if (!length || length > UINT64_MAX - dst)
		return;
	if (length > s->config.upload_bytes) {
		s->stats.too_large++;
		return;
	}
	i = take_node(s, length);
	if (i == NIL)
		return;
	memcpy(s->nodes[i].bytes, host, length);
	publish(s, i, dst, length);
	s->stats.uploads++;
}

/* The shadow that has all of [addr, addr + length). */
static uint32_t covering(const struct kv_shadows *s, uint64_t addr, uint64_t length)
{
	uint32_t i = floor_of(s, addr);

	if (i == NIL || addr - s->nodes[i].addr >= s->nodes[i].length ||
		length > s->nodes[i].length - (addr - s->nodes[i].addr))
		return NIL;
	return i;
}

void kv_shadows_copy(struct kv_shadows *s, uint64_t dst, uint64_t src, uint64_t length)
{
	uint32_t from = length ? covering(s, src, length) : NIL, to;
	uint64_t serial;

	if (from == NIL || length > s->config.upload_bytes || length > UINT64_MAX - dst) {
		kv_shadows_kill(s, dst, length);
		return;
	}
	/* Onto itself, or onto a part of it: what is there afterwards is not what was uploaded. */
	if (dst < src + length && src < dst + length) {
		kv_shadows_kill(s, dst, length);
		return;
	}
	serial = s->nodes[from].serial;
	to = take_node(s, length);
	/* The source may have had to go to make room, and the node may be its own. */
	if (to != NIL && s->nodes[from].serial == serial) {
		memcpy(s->nodes[to].bytes, s->nodes[from].bytes + (src - s->nodes[from].addr),
			length);
		forget_range(s, dst, length);
		publish(s, to, dst, length);
		s->stats.copies++;
		return;
	}
	if (to != NIL) {
		s->nodes[to].newer = s->free;
		s->free = to;
	}
	kv_shadows_kill(s, dst, length);
}

/* ---- consumption ---- */

static uint64_t mix(uint64_t serial, uint64_t plane)
{
	uint64_t h = (serial ^ plane * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;

	return h ^ h >> 32;
}

static bool is_stale(const struct kv_shadows *s, const struct consumed *c)
{
	return !c->serial || s->nodes[c->shadow].serial != c->serial;
}

const void *kv_shadows_consume(struct kv_shadows *s, uint64_t addr, uint64_t length, uint64_t plane)
{
	struct consumed *room = NULL;
	uint32_t i = length ? covering(s, addr, length) : NIL;
	uint64_t h;

	if (i == NIL)
		return NULL;
	h = mix(s->nodes[i].serial, plane);
	for (uint32_t probe = 0; probe < PROBES; probe++) {
		struct consumed *c = &s->consumed[(h + probe) & s->consumed_mask];

		if (c->serial == s->nodes[i].serial && c->plane == plane) {
			s->stats.refused++;
			return NULL;
		}
		if (!room && is_stale(s, c))
			room = c;
		if (!c->serial)
			break; /* never used: nothing behind it was put here */
	}
	if (!room) {
		s->stats.refused++;
		return NULL;
	}
	*room = (struct consumed){s->nodes[i].serial, plane, i};
	if (s->config.quick)
		kv_quick_use(s->config.quick, s->nodes[i].addr);
	s->stats.consumed++;
	return s->nodes[i].bytes + (addr - s->nodes[i].addr);
}

const void *kv_shadows_peek(const struct kv_shadows *s, uint64_t addr, uint64_t length,
	uint64_t plane, uint64_t *ret_start, uint64_t *ret_length)
{
	uint32_t i = length ? covering(s, addr, length) : NIL;
	bool room = false;
	uint64_t h;

	if (i == NIL)
		return NULL;
	h = mix(s->nodes[i].serial, plane);
	for (uint32_t probe = 0; probe < PROBES; probe++) {
		const struct consumed *c = &s->consumed[(h + probe) & s->consumed_mask];

		if (c->serial == s->nodes[i].serial && c->plane == plane)
			return NULL;
		room |= is_stale(s, c);
		if (!c->serial)
			break; /* never used: nothing behind it was put here */
	}
	if (!room)
		return NULL;
	*ret_start = s->nodes[i].addr;
	*ret_length = s->nodes[i].length;
	return s->nodes[i].bytes + (addr - s->nodes[i].addr);
}

uint64_t kv_shadows_last(const struct kv_shadows *s)
{
	return s->last_serial;
}

uint64_t kv_shadows_sweep(struct kv_shadows *s, uint64_t since,
	bool (*dies)(void *ctx, uint64_t addr, uint64_t length), void *ctx)
{
	for (uint32_t i = s->newest, older; i != NIL && s->nodes[i].serial > since; i = older) {
		older = s->nodes[i].older;
		if (dies(ctx, s->nodes[i].addr, s->nodes[i].length)) {
			forget(s, i);
			s->stats.killed++;
		}
	}
	return s->last_serial;
}

uint64_t kv_shadows_serial(const struct kv_shadows *s, uint64_t addr)
{
	uint32_t i = covering(s, addr, 1);

	return i == NIL ? 0 : s->nodes[i].serial;
}

void kv_shadows_stats(const struct kv_shadows *s, struct kv_shadows_stats *ret_stats)
{
	*ret_stats = s->stats;
}

/* ---- checking ---- */

/* In address order, without recursion: the next start after addr is found from the root. */
int kv_shadows_check(const struct kv_shadows *s)
{
	uint64_t end = 0, bytes = 0, capacity = 0, serial = 0;
	uint32_t n = 0, listed = 0;

	for (uint32_t i = overlapping(s, 0, UINT64_MAX); i != NIL;) {
		const struct shadow *node = &s->nodes[i];

		if (!node->length || node->addr < end || ++n > s->config.n_shadows ||
			node->length > node->capacity)
			return -EPROTO;
		end = node->addr + node->length;
		bytes += node->length;
		i = overlapping(s, end, UINT64_MAX);
	}
	for (uint32_t i = s->oldest; i != NIL; i = s->nodes[i].newer) {
		if (++listed > n || s->nodes[i].serial <= serial)
			return -EPROTO;
		serial = s->nodes[i].serial;
	}
	for (uint32_t i = 0; i < s->config.n_shadows; i++)
		capacity += s->nodes[i].capacity;
	if (listed != n || n != s->stats.n || bytes != s->stats.bytes ||
		capacity != s->capacity_bytes || capacity > s->config.total_bytes)
		return -EPROTO;
	return 0;
}
