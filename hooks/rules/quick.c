/* SPDX-License-Identifier: Apache-2.0 */
/* quick.c - see quick.h. */
#include "hooks/rules/quick.h"

#include <string.h>

/* struct kv_quick.state: bit 0: closed; bits 1 to 15: who has claimed; above: the generation. */
#define CLOSED 1ull
#define GENERATION (1ull << 16)
#define CLAIMED ((GENERATION - 1) & ~CLOSED)

_Static_assert(KV_QUICK_OWNERS <= 1 << 15, "a number fits below the generation");

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

static uint32_t set_of(uint64_t addr)
{
	return (uint32_t)(addr * 0x9e3779b97f4a7c15ull >> 57) % KV_QUICK_SETS;
}

/* ---- with the mutex ---- */

void *kv_quick_close(struct kv_quick *quick)
{
	/* acquire: partner is kv_quick_claim(), whose owner is looked at; release: what is written
	 * from now on makes no claim of before succeed. */
	uint64_t state = atomic_fetch_or_explicit(&quick->state, CLOSED, memory_order_acq_rel);

	return quick->owners[(state & CLAIMED) >> 1];
}

void kv_quick_open(struct kv_quick *quick)
{
	uint64_t state = GET(quick->state);

	/* release: partner is kv_quick_begin() */
	atomic_store_explicit(
		&quick->state, (state & ~(GENERATION - 1)) + GENERATION, memory_order_release);
}

uint32_t kv_quick_enter(struct kv_quick *quick, void *owner)
{
	for (uint32_t i = 1; i < KV_QUICK_OWNERS; i++) {
		if (quick->owners[i])
			continue;
		quick->owners[i] = owner;
		return i;
	}
	return 0;
}

void kv_quick_leave(struct kv_quick *quick, uint32_t number)
{
	if (number)
		quick->owners[number] = NULL;
}

void kv_quick_put(
	struct kv_quick *quick, uint64_t addr, const void *bytes, uint64_t length, uint64_t serial)
{
	struct kv_quick_shadow *set = quick->shadows[set_of(addr)], *at = NULL;
	uint64_t n = length < KV_QUICK_BYTES ? length : KV_QUICK_BYTES;

	SET(quick->last, serial);
	if (length > KV_QUICK_BYTES || addr == 0)
		return;
	for (uint32_t i = 0; i < KV_QUICK_WAYS && !at; i++)
		if (!GET(set[i].addr))
			at = &set[i];
	if (!at)
		at = &set[serial % KV_QUICK_WAYS];
	SET(at->addr, addr);
	SET(at->length, length);
	SET(at->used, false);
	for (uint64_t i = 0; i < n; i += 8) {
		uint64_t word = 0;

		memcpy(&word, (const char *)bytes + i, n - i < 8 ? n - i : 8);
		SET(at->words[i / 8], word);
	}
}

static struct kv_quick_shadow *find(const struct kv_quick *quick, uint64_t addr)
{
	const struct kv_quick_shadow *set = quick->shadows[set_of(addr)];

	for (uint32_t i = 0; i < KV_QUICK_WAYS && addr; i++)
		if (GET(set[i].addr) == addr)
			return (struct kv_quick_shadow *)&set[i];
	return NULL;
}

void kv_quick_drop(struct kv_quick *quick, uint64_t addr)
{
	struct kv_quick_shadow *at = find(quick, addr);

	if (at)
		SET(at->addr, 0);
}

void kv_quick_use(struct kv_quick *quick, uint64_t addr)
{
	struct kv_quick_shadow *at = find(quick, addr);

	if (at)
		SET(at->used, true);
}

/* ---- without it ---- */

bool kv_quick_begin(const struct kv_quick *quick, uint64_t *ret_state)
{
	/* acquire: partner is kv_quick_open() */
	*ret_state = atomic_load_explicit(&quick->state, memory_order_acquire);
	return !(*ret_state & (CLAIMED | CLOSED));
}

bool kv_quick_read(const struct kv_quick *quick, uint64_t addr, uint64_t length, void *content,
	uint64_t *ret_length)
{
	const struct kv_quick_shadow *at = find(quick, addr);

	if (!at || length > GET(at->length) || length > KV_QUICK_BYTES || GET(at->used))
		return false;
	*ret_length = GET(at->length);
	for (uint64_t i = 0; i < length; i += 8) {
		uint64_t word = GET(at->words[i / 8]);

		memcpy((char *)content + i, &word, length - i < 8 ? length - i : 8);
	}
	return true;
}

bool kv_quick_claim(struct kv_quick *quick, uint64_t state, uint32_t number)
{
	/* release: partner is kv_quick_close(): what was read was read before the next change. */
	return number &&
	       atomic_compare_exchange_strong_explicit(&quick->state, &state,
		       state | (uint64_t)number << 1, memory_order_release, memory_order_relaxed);
}
