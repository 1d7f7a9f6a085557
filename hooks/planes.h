/* SPDX-License-Identifier: Apache-2.0 */
/*
 * planes.h - the planes of a KV cache: what is written in step grows in step, and what attention no
 * longer reaches goes (P8).
 *
 * A plane is one tensor's rows. Recognised writers prove it: only what such a writer has written is
 * ever released, and only planes that were written in step are backed in step. Readers tell how
 * many rows are live: what is above is dead until it has been written again, all but one spare page
 * per plane, so that an extent that swings around a page boundary costs nothing. The spare page
 * goes, too, when it is not used for a while (kv_release_later()).
 *
 * The table is of fixed size; a plane that does not fit is neither released nor backed ahead.
 * Within a page everything here is a hash look-up and some loads: no lock, no call into core. At a
 * page boundary one leaf mutex is taken, never across a call into core.
 */
#ifndef KV_HOOKS_PLANES_H
#define KV_HOOKS_PLANES_H

#include <stdint.h>

#include "core/core.h"
#include "hooks/rules/rules.h"

/*
 * [inside] [hot] What a recognised launch does to planes, before its accesses are touched: its
 * planes are remembered as written where its written accesses lie; where one crosses into a new
 * page, all that are written in step with it get theirs in one batch; what lies above its extents
 * is released. In a graph: for each node, in node order. Errors are the accesses' to report.
 */
void kv_planes_launch(const struct kv_reach *reach);

/* The two halves of it, for who keeps something else than a reach. */
struct kv_written {
	uint64_t low, high; /* addresses, low < high */
};
/* What a launch writes to its i-th plane: the written accesses from its base on, up to the base of
 * another one. Room for KV_REACH_ACCESSES. Returns how many they are. */
uint32_t kv_planes_spans(const struct kv_reach *reach, uint32_t i, struct kv_written *ret_spans);
/*
 * [inside] [hot] All that one launch writes to the plane at base, in rows of row_stride bytes: n
 * spans, rising. base <= spans[0].low.
 */
void kv_planes_write(
	uint64_t base, uint64_t row_stride, const struct kv_written *spans, uint32_t n_spans);
/*
 * The pages that planes of the space will reach before long: their first addresses, at most room.
 * Each is named once. kv_planes_near() rises when there are more. The agent is poked then.
 */
uint32_t kv_planes_ahead(const struct kv_space *space, uint64_t *ret_pages, uint32_t room);
uint64_t kv_planes_near(void);
/* Readers count rows in steps of so many, and reach a page up to one step before writers do. 0: not
 * known. */
uint64_t kv_planes_grid(void);
/* Of [0, high) from row 0 of a plane: where the last whole step ends; high, if there is none beyond
 * low. A write beyond it makes readers leave the range. */
static inline uint64_t kv_planes_reach(
	uint64_t low, uint64_t high, uint64_t row_stride, uint64_t grid)
{
	uint64_t reach = grid && row_stride ? high / row_stride / grid * grid * row_stride : high;

	return reach > low ? reach : high;
}
/* [inside] [hot] */
void kv_planes_read(const struct kv_extent *extent);
/*
 * What has happened to pages and planes so far: as long as the number is the same, repeating the
 * same kv_planes_write() and kv_planes_read() calls has no effect, and they may be left out. [hot]
 */
uint64_t kv_planes_revision(void);

/* [inside] A fill of [base, base + length), a whole allocation, with zero has been submitted: it is
 * what an engine does that starts anew, and nothing is live. What is touched from now on stays. */
void kv_planes_clear(uint64_t base, uint64_t length);
/* The allocation is freed: nothing is known about its addresses any more. */
void kv_planes_forget(uint64_t base, uint64_t length);

#endif
