/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grains.h - where in the address space something is of interest, told by one load for each word
 * that a launch carries.
 *
 * The address space is divided into grains of 2^bits bytes, which are told apart modulo 2^16; each
 * has a counter of what is of interest in it. Zero: nothing is, and the word needs no second look.
 * Anything else is a reason to look, not an answer. A counter that is full stays so.
 *
 * Whoever counts up does so before anybody can know the address, and down when nobody may use it
 * any more; nothing else orders the counters. Readers hold no lock; writers of the same grains must
 * exclude each other.
 */
#ifndef KV_CORE_GRAINS_H
#define KV_CORE_GRAINS_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#define KV_GRAINS (1u << 16)

struct kv_grains {
	_Atomic uint8_t count[KV_GRAINS]; /* atomic: relaxed, see above */
};

/* [low, high) is of interest (delta 1), or is not any more (delta -1: the same range as before).
 * Each counter moves once at most: what is longer than all grains together is in all of them. */
static inline void kv_grains_count(
	struct kv_grains *grains, unsigned int bits, uint64_t low, uint64_t high, int delta)
{
	uint64_t first = low >> bits, n;

	if (low >= high)
		return;
	n = ((high - 1) >> bits) - first + 1;
	if (n > KV_GRAINS)
		n = KV_GRAINS;
	for (uint64_t i = first; i < first + n; i++) {
		_Atomic uint8_t *at = &grains->count[i % KV_GRAINS];
		uint8_t old = atomic_load_explicit(at, memory_order_relaxed);

		if (old != UINT8_MAX)
			atomic_store_explicit(at, (uint8_t)(old + delta), memory_order_relaxed);
	}
}

/*
 * [hot] Adds bits to seen if something is of interest in the grain of the address that is stored at
 * word, maybe not aligned. bits is a constant and a multiple of eight: the number of the grain
 * stands in two bytes of the address, so that one load gives it. grains: element at of an array.
 */
#pragma GCC diagnostic push
/* Of the operand below, where there is one element. */
#pragma GCC diagnostic ignored "-Warray-bounds"
static inline __attribute__((always_inline)) uint32_t kv_grains_or(uint32_t seen,
	const struct kv_grains *grains, unsigned int at, unsigned int bits, const void *word)
{
	uint16_t grain;

	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low byte comes first");
	memcpy(&grain, (const char *)word + bits / 8, sizeof(grain));
#ifdef __x86_64__
	/* A relaxed load. Compilers do not make an atomic one an operand, and compute the address
	 * of each element apart. The last operand says that memory is read. */
	__asm__("orb %c[at](%[grains],%[grain]), %b[seen]"
		: [seen] "+q"(seen)
		: [at] "i"(at * sizeof(*grains)), [grains] "r"(grains),
		[grain] "r"((uint64_t)grain), "m"(*(const struct kv_grains(*)[2])grains));
	return seen;
#else
	return seen | atomic_load_explicit(&grains[at].count[grain], memory_order_relaxed);
#endif
}
#pragma GCC diagnostic pop

#endif
