/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph_steady.h - launches of an executable graph that differ from the last one in nothing but
 * what has been uploaded in between.
 *
 * While a launch is evaluated node by node, it is noted which index arrays the graph reads, for
 * which geometry, which rows of all their planes have memory now, and where the graph writes. The
 * next launch then costs as much as there are distinct arrays and fresh uploads, however many nodes
 * there are. It is evaluated in full again when a row lies elsewhere, when an array was not
 * uploaded anew or not in time, and when anything may have lost its memory (kv_core_losses()).
 *
 * A group of planes that read the same array in the same geometry consumes it by the name of its
 * first plane.
 *
 * Where the arrays are small (quick.h) and no other launch has been claimed since the last upload,
 * the next launch is looked at without the mutex of the shadows: kv_steady_glance().
 */
#ifndef KV_HOOKS_GRAPH_STEADY_H
#define KV_HOOKS_GRAPH_STEADY_H

#include "hooks/rules/quick.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/shadow.h"

enum {
	KV_STEADY_GROUPS = 32,
	KV_STEADY_WINDOWS = 8,
};

/* Bytes from row 0 of each plane of a group: [low, high) has memory in all of them. */
struct kv_window {
	uint64_t low, high;
	uint64_t reach; /* see kv_planes_reach(); set by kv_steady_end() */
};

struct kv_group {
	struct kv_index_use use; /* of its first plane */
	uint32_t position;       /* node that reads the array last */
	uint32_t n_windows;      /* of this evaluation, until kv_steady_end() */
	uint32_t n_kept;         /* of the evaluations before */
	uint64_t told;           /* end of the window that a look ahead has left */
	struct kv_window windows[KV_STEADY_WINDOWS], kept[KV_STEADY_WINDOWS];
};

/* Where the graph writes, or where something points that may write. */
struct kv_kill {
	uint64_t addr, end;
	uint32_t position; /* first node that does */
};

struct kv_steady {
	bool valid, never;
	uint64_t grid;   /* kv_planes_grid() */
	bool look_ahead; /* a launch whose next writes may need new pages is evaluated in full once
			  */
	uint64_t losses; /* kv_core_losses() before the touches that windows rest on */
	uint64_t revision; /* kv_planes_revision() after them */
	/* Serial number of the last shadow that was looked at. guarded by the mutex of the shadows;
	 * atomic: relaxed, for a glance */
	_Atomic uint64_t seen;
	uint32_t number; /* in quick.h, 0: none. Changed with the mutex of the shadows, by its owner
			  */
	uint32_t n_groups, n_kills, kills_size;
	struct kv_group *groups; /* KV_STEADY_GROUPS, made with the first */
	struct kv_kill *kills;   /* disjoint, by address, once valid */
};

/* The mutex of the shadows is held, unless number is 0. quick: where it has its number from. */
void kv_steady_clear(struct kv_steady *steady, struct kv_quick *quick);

/* ---- while a launch is evaluated in full; the mutex of the shadows is held ---- */

/* losses: as read before. */
void kv_steady_begin(struct kv_steady *steady, uint64_t losses);
/* The node at position may write [addr, addr + length). */
void kv_steady_kill(struct kv_steady *steady, uint64_t addr, uint64_t length, uint32_t position);
/* The node reads an index array; low, high: what has or will get memory in its plane, one or more
 * windows, from row 0. */
void kv_steady_use(struct kv_steady *steady, const struct kv_index_use *use, uint32_t position,
	const struct kv_window *windows, uint32_t n_windows);
/* ok: the launch needs nothing but what has been said. quick: may be NULL. */
void kv_steady_end(struct kv_steady *steady, const struct kv_shadows *shadows,
	struct kv_quick *quick, bool ok);

/*
 * [hot] The mutex of the shadows is held. True: this launch needs nothing; its arrays are consumed,
 * and the shadows that it writes over have died. False: nothing has changed. shadows may be NULL.
 */
bool kv_steady_launch(struct kv_steady *steady, struct kv_shadows *shadows, uint64_t losses);

enum kv_glance {
	KV_GLANCE_DONE,     /* this launch needs nothing */
	KV_GLANCE_ASK,      /* take the mutex, and ask kv_steady_launch() */
	KV_GLANCE_EVALUATE, /* it is to be evaluated in full */
};
/*
 * [hot] The same as kv_steady_launch(), without the mutex. What it does to the shadows is left to
 * whoever takes the mutex next: kv_steady_settle().
 */
enum kv_glance kv_steady_glance(struct kv_steady *steady, struct kv_quick *quick, uint64_t losses);
/* kv_quick_close() has named it: nothing else has been done to the shadows since. */
void kv_steady_settle(struct kv_steady *steady, struct kv_shadows *shadows);

#endif
