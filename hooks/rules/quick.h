/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quick.h - small index shadows that can be read without the mutex that guards their table, and how
 * a reader takes effect without it.
 *
 * Whoever holds the mutex closes the view first and opens it again before letting go; each time is
 * a new generation. A reader without the mutex notes the generation (kv_quick_begin()), looks at
 * whatever it needs, and claims what it has decided (kv_quick_claim()): that succeeds only if
 * nobody has held the mutex since, and nobody else has claimed anything. What follows from the
 * claim for the table is done by the next holder of the mutex, before anything else:
 * kv_quick_close() tells whose claim there is. So a claim happens at one point in the order of all
 * changes of the table, as if the mutex had been held, and what its reader saw is what was there.
 *
 * Content is copied here when a shadow is made, so that no reader meets memory that is freed: the
 * first KV_QUICK_BYTES bytes at most; a larger shadow, or one that finds no room among its
 * neighbours, is not seen here. What is read while the view is not open may be torn, and leads to a
 * claim that fails.
 */
#ifndef KV_RULES_QUICK_H
#define KV_RULES_QUICK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	KV_QUICK_BYTES = 512, /* indices of 64 tokens */
	KV_QUICK_WAYS = 2,    /* shadows whose addresses fall together */
	KV_QUICK_SETS = 128,
	KV_QUICK_OWNERS = 4096,
};

/* All fields: atomic: relaxed, written while the view is closed, ordered by its state. */
struct kv_quick_shadow {
	_Atomic uint64_t addr, length; /* addr 0: none */
	_Atomic bool used;             /* somebody has consumed it, for whichever plane */
	_Atomic uint64_t words[KV_QUICK_BYTES / 8];
};

/* All zero at first. */
struct kv_quick {
	/* Generation, number of who has claimed, 1 while closed. atomic: acquire and release */
	_Atomic uint64_t state;
	_Atomic uint64_t last; /* atomic: relaxed; kv_shadows_last() */
	/* guarded by the mutex of the shadows; number 0 is nobody's */
	void *owners[KV_QUICK_OWNERS];
	struct kv_quick_shadow shadows[KV_QUICK_SETS][KV_QUICK_WAYS];
};

/* ---- the mutex of the shadows is held ---- */

/* Right after the mutex was taken. Who has claimed something that is to be done now; NULL: nobody.
 */
void *kv_quick_close(struct kv_quick *quick);
/* Right before the mutex is given back. */
void kv_quick_open(struct kv_quick *quick);

/* A number for who wants to claim; 0: there are too many. */
uint32_t kv_quick_enter(struct kv_quick *quick, void *owner);
/* The number is free again. */
void kv_quick_leave(struct kv_quick *quick, uint32_t number);

/* For the table of shadows: one was made (serial: its serial number), has gone, was consumed. */
void kv_quick_put(
	struct kv_quick *quick, uint64_t addr, const void *bytes, uint64_t length, uint64_t serial);
void kv_quick_drop(struct kv_quick *quick, uint64_t addr);
void kv_quick_use(struct kv_quick *quick, uint64_t addr);

/* ---- it is not ---- */

/* [hot] False: the view is closed, or something is claimed already. */
bool kv_quick_begin(const struct kv_quick *quick, uint64_t *ret_state);
/* [hot] The first length bytes of the shadow that begins at addr, into content; *ret_length: of the
 * whole shadow. False: it is not to be had here, or was consumed. length: a multiple of 4. */
bool kv_quick_read(const struct kv_quick *quick, uint64_t addr, uint64_t length, void *content,
	uint64_t *ret_length);
/* [hot] True: nothing has changed since kv_quick_begin(), and number has claimed. */
bool kv_quick_claim(struct kv_quick *quick, uint64_t state, uint32_t number);

#endif
