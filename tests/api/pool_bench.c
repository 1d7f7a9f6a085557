/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_bench.c - requests of a trace through pools of three kinds, and through the predictor.
 *
 * usage: pool_bench fit|predict CAPACITY_MIB TOKEN_BYTES < REQUESTS
 *
 * A request is a line "BEGIN_MS END_MS TOKENS", by rising BEGIN_MS. Those for which there is no
 * room are refused. Prints one line of figures per kind; scripts/benches/pool.py makes tables of
 * them.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/pool.h"
#include "core/predict.h"

#define PAGE (2ull << 20)
#define HORIZON_MS 200u
#define TICK_MS 20u

struct request {
	uint64_t begin, end, bytes; /* ms, ms */
	uint64_t place;             /* offset; UINT64_MAX: refused or not there */
	uint64_t id;
};

static struct request *requests;
static size_t n_requests;
static uint64_t capacity;

static void fail(const char *why)
{
	fprintf(stderr, "pool_bench: %s\n", why);
	exit(1);
}

static void read_requests(uint64_t token_bytes)
{
	uint64_t begin, end, tokens;
	size_t size = 0;

	while (scanf("%" SCNu64 " %" SCNu64 " %" SCNu64, &begin, &end, &tokens) == 3) {
		if (n_requests == size) {
			size = size ? size * 2 : 1024;
			requests = realloc(requests, size * sizeof(*requests));
			if (!requests)
				fail("no memory");
		}
		if (!tokens || end < begin ||
			(n_requests && begin < requests[n_requests - 1].begin))
			fail("requests must be in order, and not empty");
		requests[n_requests++] =
			(struct request){begin, end, tokens * token_bytes, UINT64_MAX, 0};
	}
	if (!n_requests)
		fail("no requests");
}

/* ---- three kinds of pools ---- */

struct kind {
	const char *name;
	void (*begin)(void);
	bool (*take)(struct request *q);
	void (*give)(struct request *q);
	/* Bytes in use with what is lost inside, longest free piece, places looked at so far. */
	void (*ask)(uint64_t *ret_used, uint64_t *ret_longest, uint64_t *ret_looks);
};

static struct kv_pool *best;
static uint32_t best_model;

static void best_begin(void)
{
	if (kv_pool_new(capacity, &best) < 0 ||
		kv_pool_model_add(best, 0, UINT64_MAX, &best_model) < 0)
		fail("no memory");
}

static bool best_take(struct request *q)
{
	struct kv_pool_piece piece;

	if (kv_pool_take(best, best_model, q->bytes, &piece) < 0)
		return false;
	q->place = piece.offset;
	q->id = piece.id;
	return true;
}

static void best_give(struct request *q)
{
	kv_pool_give(best, q->id, NULL);
}

static void best_ask(uint64_t *ret_used, uint64_t *ret_longest, uint64_t *ret_looks)
{
	struct kv_pool_counts counts;

	kv_pool_counts(best, &counts);
	*ret_used = counts.used;
	*ret_longest = counts.largest_free;
	*ret_looks = counts.n_looks;
}

/* First fit: a list of holes by address. */
struct hole {
	struct hole *next;
	uint64_t offset, length;
};
static struct hole *holes;
static uint64_t first_used, first_looks;

static struct hole *new_hole(uint64_t offset, uint64_t length, struct hole *next)
{
	struct hole *hole = malloc(sizeof(*hole));

	if (!hole)
		fail("no memory");
	*hole = (struct hole){next, offset, length};
	return hole;
}

static void first_begin(void)
{
	holes = new_hole(0, capacity, NULL);
}

static bool first_take(struct request *q)
{
	for (struct hole **at = &holes; *at; at = &(*at)->next) {
		struct hole *hole = *at;

		first_looks++;
		if (hole->length < q->bytes)
			continue;
		q->place = hole->offset;
		hole->offset += q->bytes;
		hole->length -= q->bytes;
		if (!hole->length) {
			*at = hole->next;
			free(hole);
		}
		first_used += q->bytes;
		return true;
	}
	return false;
}

static void first_give(struct request *q)
{
	struct hole **at = &holes, *before = NULL, *hole;

	while (*at && (*at)->offset < q->place) {
		first_looks++;
		before = *at;
		at = &(*at)->next;
	}
	hole = *at = new_hole(q->place, q->bytes, *at);
	if (hole->next && hole->offset + hole->length == hole->next->offset) {
		struct hole *next = hole->next;

		hole->length += next->length;
		hole->next = next->next;
		free(next);
	}
	if (before && before->offset + before->length == hole->offset) {
		before->length += hole->length;
		before->next = hole->next;
		free(hole);
	}
	first_used -= q->bytes;
}

static void first_ask(uint64_t *ret_used, uint64_t *ret_longest, uint64_t *ret_looks)
{
	*ret_longest = 0;
	for (const struct hole *hole = holes; hole; hole = hole->next)
		*ret_longest = hole->length > *ret_longest ? hole->length : *ret_longest;
	*ret_used = first_used;
	*ret_looks = first_looks;
}

/* Buddies: pieces are powers of two of at least 64 KiB. free_at[order]: a list of offsets. */
#define SMALLEST 16u
#define ORDERS 48u
static struct hole *free_at[ORDERS];
static uint64_t buddy_used, buddy_looks;

static unsigned order_of(uint64_t bytes)
{
	unsigned order = SMALLEST;

	while (1ull << order < bytes)
		order++;
	return order;
}

static void buddy_begin(void)
{
	/* A capacity that is no power of two: its powers, one behind the other. */
	uint64_t offset = 0;

	for (unsigned order = ORDERS - 1; order >= SMALLEST; order--) {
		if (capacity - offset >= 1ull << order) {
			free_at[order] = new_hole(offset, 1ull << order, free_at[order]);
			offset += 1ull << order;
			order++;
		}
	}
}

static bool buddy_take(struct request *q)
{
	unsigned wanted = order_of(q->bytes), order = wanted;
	struct hole *hole;

	for (; order < ORDERS && !free_at[order]; order++)
		buddy_looks++;
	if (order == ORDERS)
		return false;
	hole = free_at[order];
	free_at[order] = hole->next;
	q->place = hole->offset;
	free(hole);
	while (order > wanted) {
		order--;
		buddy_looks++;
		free_at[order] =
			new_hole(q->place + (1ull << order), 1ull << order, free_at[order]);
	}
	buddy_used += 1ull << wanted;
	return true;
}

static void buddy_give(struct request *q)
{
	unsigned order = order_of(q->bytes);
	uint64_t offset = q->place;

	buddy_used -= 1ull << order;
	for (; order + 1 < ORDERS; order++) {
		struct hole **at = &free_at[order];

		while (*at && (*at)->offset != (offset ^ 1ull << order)) {
			buddy_looks++;
			at = &(*at)->next;
		}
		if (!*at)
			break;
		struct hole *buddy = *at;

		*at = buddy->next;
		free(buddy);
		offset &= ~(1ull << order);
	}
	free_at[order] = new_hole(offset, 1ull << order, free_at[order]);
}

static void buddy_ask(uint64_t *ret_used, uint64_t *ret_longest, uint64_t *ret_looks)
{
	*ret_longest = 0;
	for (unsigned order = SMALLEST; order < ORDERS; order++)
		*ret_longest = free_at[order] ? 1ull << order : *ret_longest;
	*ret_used = buddy_used;
	*ret_looks = buddy_looks;
}

/* ---- a run ---- */

static int by_end(const void *a, const void *b)
{
	const struct request *x = *(const struct request *const *)a;
	const struct request *y = *(const struct request *const *)b;

	return x->end < y->end ? -1 : x->end > y->end;
}

static struct request **ends;

static void sort_ends(void)
{
	ends = malloc(n_requests * sizeof(*ends));
	if (!ends)
		fail("no memory");
	for (size_t i = 0; i < n_requests; i++)
		ends[i] = &requests[i];
	qsort(ends, n_requests, sizeof(*ends), by_end);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_fit(const struct kind *kind)
{
	uint64_t used, longest, looks, n_refused = 0, n_calls = 0, asked = 0;
	double lost_inside = 0, lost_outside = 0, spent = 0, peak = 0;
	size_t e = 0;

	kind->begin();
	for (size_t i = 0; i < n_requests; i++) {
		struct request *q = &requests[i];
		double start = seconds();

		for (; e < n_requests && ends[e]->end <= q->begin; e++) {
			if (ends[e]->place == UINT64_MAX)
				continue;
			kind->give(ends[e]);
			asked -= ends[e]->bytes;
			ends[e]->place = UINT64_MAX;
			n_calls++;
		}
		n_calls++;
		if (kind->take(q))
			asked += q->bytes;
		else
			n_refused++;
		spent += seconds() - start;
		kind->ask(&used, &longest, &looks);
		peak = (double)used > peak ? (double)used : peak;
		lost_inside += used ? (double)(used - asked) / (double)used : 0;
		lost_outside +=
			used < capacity ? 1 - (double)longest / (double)(capacity - used) : 0;
	}
	for (size_t i = 0; i < n_requests; i++)
		requests[i].place = UINT64_MAX;
	printf("%s %zu %" PRIu64 " %.1f %.4f %.4f %.2f %.0f\n", kind->name, n_requests, n_refused,
		peak / (1 << 20), lost_inside / (double)n_requests,
		lost_outside / (double)n_requests, (double)looks / (double)n_calls,
		spent / (double)n_calls * 1e9);
}

/* ---- prediction: the same pool, page by page ---- */

static uint32_t *pages; /* what lives or is expected on each */
static uint64_t n_backed;

/* Returns whether a page had to be backed. */
static bool count_pages(uint64_t offset, uint64_t length, int by)
{
	bool had_to = false;

	for (uint64_t p = offset / PAGE; length && p <= (offset + length - 1) / PAGE; p++) {
		had_to |= pages[p] == 0;
		n_backed += pages[p] == 0 && by > 0;
		pages[p] += (uint32_t)by;
		n_backed -= pages[p] == 0 && by < 0;
	}
	return had_to;
}

static void drop_kept(void *unused, const struct kv_span *span)
{
	(void)unused;
	count_pages(span->offset, span->length, -1);
}

enum sight { NONE, HISTORY, ORACLE };

/* What will be asked for before the next look and a horizon behind it, as far as one can see. */
static uint64_t expect(
	enum sight sight, const struct kv_predict *history, size_t next, uint64_t now)
{
	uint64_t bytes = 0;

	if (sight == HISTORY)
		return kv_predict_bytes(history, now * 1000000, HORIZON_MS * 1000000ull);
	for (; sight == ORACLE && next < n_requests && requests[next].begin <= now + TICK_MS;
		next++)
		bytes += requests[next].bytes;
	return bytes;
}

static void run_predict(const char *name, enum sight sight)
{
	uint64_t ahead = 0, ahead_length = 0, n_stalls = 0, n_served = 0, n_ticks = 0;
	double cost = 0, backed = 0;
	struct kv_predict history = {0};
	struct kv_pool_counts counts;
	struct kv_keep keep = {0};
	size_t e = 0, i = 0;

	best_begin();
	pages = calloc(capacity / PAGE + 1, sizeof(*pages));
	if (!pages)
		fail("no memory");
	n_backed = 0;
	for (uint64_t now = requests[0].begin; i < n_requests; now += TICK_MS) {
		uint64_t bytes, offset = 0, before;

		for (; i < n_requests && requests[i].begin < now + TICK_MS; i++) {
			struct request *q = &requests[i];

			for (; e < n_requests && ends[e]->end <= q->begin; e++) {
				if (ends[e]->place == UINT64_MAX)
					continue;
				best_give(ends[e]);
				if (sight == NONE)
					count_pages(ends[e]->place, ends[e]->bytes, -1);
				else
					kv_keep_add(&keep,
						(struct kv_span){ends[e]->place, ends[e]->bytes},
						drop_kept, NULL);
				ends[e]->place = UINT64_MAX;
			}
			kv_predict_add(&history, q->begin * 1000000, q->bytes);
			if (best_take(q)) {
				n_served++;
				n_stalls += count_pages(q->place, q->bytes, 1);
				kv_keep_taken(&keep, (struct kv_span){q->place, q->bytes},
					drop_kept, NULL);
			}
		}
		/* The look ahead. */
		bytes = expect(sight, &history, i, now + TICK_MS);
		kv_keep_trim(&keep, bytes, drop_kept, NULL);
		bytes -= keep.bytes;
		kv_pool_counts(best, &counts);
		bytes = bytes > counts.largest_free ? counts.largest_free : bytes;
		if (!bytes || kv_pool_peek(best, bytes, &offset) < 0)
			bytes = 0;
		count_pages(offset, bytes, 1);
		count_pages(ahead, ahead_length, -1);
		ahead = offset;
		ahead_length = bytes;
		before = n_backed;
		count_pages(ahead, ahead_length, -1);
		for (uint32_t k = 0; k < keep.n; k++)
			count_pages(keep.spans[k].offset, keep.spans[k].length, -1);
		cost += (double)(before - n_backed);
		count_pages(ahead, ahead_length, 1);
		for (uint32_t k = 0; k < keep.n; k++)
			count_pages(keep.spans[k].offset, keep.spans[k].length, 1);
		backed += (double)n_backed;
		n_ticks++;
	}
	printf("%s %" PRIu64 " %" PRIu64 " %.1f %.1f\n", name, n_served, n_stalls,
		cost / (double)n_ticks * (double)PAGE / (1 << 20),
		backed / (double)n_ticks * (double)PAGE / (1 << 20));
	for (size_t k = 0; k < n_requests; k++)
		requests[k].place = UINT64_MAX;
	kv_pool_free(best);
	free(pages);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{"best-fit", best_begin, best_take, best_give, best_ask},
		{"first-fit", first_begin, first_take, first_give, first_ask},
		{"buddy", buddy_begin, buddy_take, buddy_give, buddy_ask},
	};

	if (argc != 4)
		fail("usage: pool_bench fit|predict CAPACITY_MIB TOKEN_BYTES < REQUESTS");
	capacity = strtoull(argv[2], NULL, 10) << 20;
	if (!capacity || !strtoull(argv[3], NULL, 10))
		fail("a capacity and bytes per token");
	read_requests(strtoull(argv[3], NULL, 10));
	sort_ends();
	if (!strcmp(argv[1], "fit")) {
		for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
			run_fit(&kinds[i]);
	} else {
		run_predict("none", NONE);
		run_predict("history", HISTORY);
		run_predict("oracle", ORACLE);
	}
	return 0;
}
