/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - reservations, pages, backing, promises: what kvshim is, without a GPU in sight.
 *
 *   struct kv_core         one per process: the reservation table and the gate
 *   struct kv_space        one per device: the gpu_ops, the handle cache, the promise
 *   struct kv_reservation  one address range handed out in place of a native allocation
 *
 * The order of a submission:
 *
 *   kv_core_is_idle() -> call the driver           (no reservation in this process: one relaxed
 * load) kv_core_enter() kv_core_find() for each address the work carries kv_touch() / kv_leak() /
 * kv_zero() ... for each range it may touch kv_settle()                                  (static
 * reservations become whole again) the driver call kv_core_leave()
 *
 * Functions marked [inside] must be called between enter and leave, those marked [outside] must
 * not. Every other function may be called anywhere except where it says otherwise. All functions
 * are thread-safe. Errors are negative errno values, with the meanings of gpu_ops.h.
 */
#ifndef KV_CORE_CORE_H
#define KV_CORE_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/gpu_ops.h"
#include "core/ledger.h"
#include "core/stats.h"

struct kv_core;
struct kv_space;
struct kv_reservation;
struct kv_agent;
struct kv_coord_limits; /* coord_shm.h */

/* Where statistics go. Called from slow paths, with a leaf lock held: must not block or call back.
 */
struct kv_stats_sink {
	void *ctx;
	void (*process)(void *ctx, const struct kv_process_stats *stats);
	/* row: 0-based, stable for the life of the reservation; base 0 frees the row */
	void (*reservation)(void *ctx, uint32_t row, const struct kv_reservation_stats *stats);
	struct kv_ledger ledger; /* of those who share the device; may be empty */
	/* The four below may be NULL. By the space's agent, no lock held: what the process does
	 * now, enum kv_coord_activity (coord_shm.h). */
	void (*activity)(void *ctx, uint32_t activity);
	/* One turn of the space's agent: for whatever the embedder has to do [outside], such as
	 * answering other processes. Returns as a task of the agent does (agent.h). */
	uint64_t (*turn)(void *ctx, struct kv_space *space, uint64_t now_ns);
	/* The limits of this process on the device as they are now. Any thread; no lock is held.
	 * May be NULL. 0 or a negative errno. */
	int (*limits)(void *ctx, struct kv_coord_limits *ret_limits);
	uint32_t *doorbell; /* futex word in shared memory that wakes the agent; stays mapped */
};

struct kv_core_config {
	uint64_t page_size;        /* bytes; 0: the granularity of the space */
	uint64_t spare_bytes;      /* recycled handles kept per space */
	uint64_t host_budget;      /* bytes of host memory that may hold SPILLED pages, per space */
	uint64_t overcommit_bytes; /* promise beyond device plus host budget, per space; 0: none */
	uint64_t drain_timeout_ns; /* bound on one quiesce; 0: 50 ms */
	uint64_t linger_ns;        /* see kv_release_later(); 0: until memory is asked for */
	/* Static reservations that nobody got a pointer to write through keep the host copy of what
	 * is restored until a touch, and go without copying next time. Launches that carry such a
	 * pointer are looked at (kv_core_hits()) for as long as that lasts. */
	bool keep_copies;
	uint64_t idle_ns; /* evict everything after so long without a submission; 0: never */
	/* One line for the operator; level 0 error, 1 warning, 2 info, 3 debug. May be NULL. No
	 * lock of core is held. */
	void (*log)(void *ctx, int level, const char *topic, const char *text);
	void *log_ctx;
};

/* ---- life ---- */

int kv_core_new(const struct kv_core_config *config, struct kv_core **ret_core);
/* Frees host-side memory only; makes no gpu_ops call. Nobody may be inside. */
void kv_core_free(struct kv_core *core);

/*
 * A device. granularity: the smallest page (bytes, power of two). ops and gpu outlive the core.
 * sink may be NULL. -EINVAL: page_size is no multiple of granularity.
 */
int kv_space_new(struct kv_core *core, const struct kv_gpu_ops *ops, void *gpu,
	uint64_t granularity, const struct kv_stats_sink *sink, struct kv_space **ret_space);
/*
 * [outside] The device's memory is gone (context destroyed, device reset): forgets the
 * reservations, host copies and handles of the space, which can be used again afterwards. ops_work:
 * 1: release everything through gpu_ops first (waits for the device, about two seconds at most,
 * then goes on as 0); 0: no gpu_ops call is made but now_ns.
 */
void kv_space_drop(struct kv_space *space, int ops_work);
void *kv_space_gpu(const struct kv_space *space);
/*
 * The agent of the space; never NULL. It has no thread until kv_space_attend(). kv_core_free() ends
 * it.
 */
struct kv_agent *kv_space_agent(const struct kv_space *space);
/*
 * Gives the agent its tasks and starts its thread. Whoever makes reservations calls it after each
 * of them; it does nothing then but for the first time. Errors of kv_agent_start().
 */
int kv_space_attend(struct kv_space *space);
/* Changes kv_core_config.idle_ns of this space. */
void kv_space_set_idle(struct kv_space *space, uint64_t idle_ns);
/* Calls visit for each space of core. */
void kv_core_each_space(
	struct kv_core *core, void (*visit)(void *ctx, struct kv_space *space), void *ctx);

/* Bytes reserved and not yet backed: what must stay free for growth, beyond the host budget. */
uint64_t kv_space_unbacked(const struct kv_space *space);
/*
 * What the space has behind its reservations, and what could be backed in addition at this moment:
 * what is reserved and not backed, at most what the ledger says that could be had (without one:
 * what the device has free) and what is spare. page: its page size. Bytes. Errors of gpu_ops. No
 * lock may be held.
 */
int kv_space_room(
	struct kv_space *space, uint64_t *ret_backed, uint64_t *ret_growth, uint64_t *ret_page);
/* Spare handles go back to the driver, until bytes are freed or none is left. Returns bytes freed.
 */
uint64_t kv_space_trim(struct kv_space *space, uint64_t bytes);
/* Book-keeping of allocations that are not ours, for the statistics (delta may be negative). */
void kv_space_native(struct kv_space *space, int64_t delta);
void kv_space_count_passed(struct kv_space *space);
/*
 * May a native allocation of this size be made without breaking the promise that was given to the
 * reservations? 0: yes, or in doubt; spares have gone back to the driver if it would not have
 * fitted beside them. -ENOMEM: no, the engine would have met out-of-memory without us as well.
 * Calls the driver only if something is promised or kept.
 */
int kv_space_admit_native(struct kv_space *space, uint64_t size);
/*
 * [outside] A native allocation of this size was refused by the driver: spare handles go back, then
 * dead pages, then others who share the device are asked for theirs and waited for. start_ns
 * (CLOCK_MONOTONIC): the first refusal of this allocation; all tries of it together wait as long as
 * the ledger's bound says, and as long as others hold that much, a second and a half. True:
 * something has come, it is worth another try. *ret_aside: what has come is kept for this try;
 * after it, kv_space_room_used() must be called, when what was made has been counted
 * (kv_space_native()).
 */
bool kv_space_make_room(struct kv_space *space, uint64_t size, uint64_t start_ns, bool *ret_aside);
void kv_space_room_used(struct kv_space *space, uint64_t size);
void kv_space_stats(const struct kv_space *space, struct kv_process_stats *ret_stats);
/* The limits of this process there; where nobody keeps any: those of a process that says nothing,
 * with the configuration's host budget and idle time. */
void kv_space_limits(const struct kv_space *space, struct kv_coord_limits *ret_limits);
/* enum kv_coord_activity. */
uint32_t kv_space_activity(const struct kv_space *space);
/* Of the launches that pass a slot of the gate, one in so many is timed by who submits them. */
#define KV_LAUNCH_SAMPLE 64u
/* What one of these has cost until it reached the driver. Any thread, no lock. */
void kv_core_count_launch(struct kv_core *core, uint64_t ns);

/* ---- reservations ---- */

/*
 * Reserves requested bytes (rounded up to pages), all pages EMPTY. Charged against the promise of
 * the space (DESIGN 2.4). tag: may be NULL, at most 31 bytes are kept. score: see select.h.
 * -ENOMEM: the promise cannot be made: the native call would have failed too, or would have taken
 * what others were promised. -ENOSPC: the reservation table is full, or there is no address space
 * or no memory for the books: allocate natively. -EINVAL: requested is 0. Other errors of gpu_ops:
 * allocate natively.
 */
int kv_reservation_new(struct kv_space *space, uint64_t requested, const char *tag, int score,
	struct kv_reservation **ret_reservation);
/*
 * [outside] Gives everything back. Waits, bounded by nothing, until the device is idle, as
 * cuMemFree does for native memory; if a drain times out it tries again. -ENOENT: addr is not the
 * base of a live reservation. -EBUSY: a capture is open; nothing was freed, the range stays valid.
 * On a gpu_ops error the rest is still freed and the first error returned; addr is no reservation
 * any more. What the device would not let go of stays mapped and is never used again.
 */
int kv_reservation_free(struct kv_core *core, kv_gpu_addr addr);

/* The live reservation that contains addr, or NULL. Lock-free, O(log n). */
struct kv_reservation *kv_core_find(struct kv_core *core, kv_gpu_addr addr);
/*
 * The same for the launch path: true if addr lies in a reservation that needs attention before a
 * launch that carries addr: anything but "static, whole, and written by anybody". Lock-free, O(log
 * n), two compares when addr is outside all of them.
 */
static inline bool kv_core_hits(
	struct kv_core *core, uint64_t addr, struct kv_reservation **ret_reservation);

/*
 * Addresses that are not ours, but that the caller wants to meet on the launch path: from now on
 * KV_GRAINS_FAR has [low, high) as well. Cannot be taken back. Before anybody can know the
 * address. Takes the table's lock; O(grains).
 */
void kv_core_watch(struct kv_core *core, uint64_t low, uint64_t high);

kv_gpu_addr kv_reservation_base(const struct kv_reservation *r);
uint64_t kv_reservation_requested(const struct kv_reservation *r);
uint64_t kv_reservation_reserved(const struct kv_reservation *r);
struct kv_space *kv_reservation_space(const struct kv_reservation *r);
/* 0: the first to be evicted, to 255; 128 unless set. */
void kv_reservation_set_priority(struct kv_reservation *r, uint8_t priority);
uint8_t kv_reservation_priority(const struct kv_reservation *r);
bool kv_reservation_is_static(const struct kv_reservation *r);
/* [inside] Kernels of this family of rules reach it, for the statistics: the first one that is told
 * stays, at most 31 bytes of it. Nothing when it is known already. */
void kv_reservation_ruled(struct kv_reservation *r, const char *family);
/* True if static, every page is mapped, and launches need not be looked at for what they write. */
bool kv_reservation_is_whole(const struct kv_reservation *r);
enum kv_page_state kv_reservation_page_state(struct kv_reservation *r, uint64_t page);
uint64_t kv_reservation_page_size(const struct kv_reservation *r);
void kv_reservation_stats(struct kv_reservation *r, struct kv_reservation_stats *ret_stats);
/* Calls visit for every live reservation until it returns non-zero; returns that. Holds no lock
 * while visiting; a reservation freed meanwhile may still be visited (its rows are never freed). */
int kv_core_each(
	struct kv_core *core, int (*visit)(void *ctx, struct kv_reservation *r), void *ctx);

/* ---- submissions ---- */

/* True if this process has no reservation: one relaxed load. */
static inline bool kv_core_is_idle(const struct kv_core *core);
/* Thread slots of the gate: once per thread, kept by the caller. */
uint32_t kv_core_thread_slot(struct kv_core *core);
static inline uint64_t kv_core_enter(struct kv_core *core, uint32_t slot);
static inline void kv_core_leave(struct kv_core *core, uint32_t slot);

/*
 * [inside] P1: the bytes [offset, offset+length) may be read or written by the work about to be
 * submitted. EMPTY pages are backed and zeroed, EVICTED ones restored, in runs, with one flush for
 * all; a static reservation is made whole. length is clipped to the reservation. -ENOMEM: neither
 * device nor host memory: complete runs before the failure stay backed, nothing else has changed.
 * Other errors of gpu_ops likewise.
 */
int kv_touch(struct kv_reservation *r, uint64_t offset, uint64_t length);

struct kv_range {
	uint64_t offset, length; /* bytes from the base */
};
/* [inside] The same for several ranges of one reservation, in any order, with one flush for all. */
int kv_touch_ranges(struct kv_reservation *r, const struct kv_range *ranges, uint32_t n_ranges);

/*
 * [outside] By the agent of the space: the pages that the ranges lie in will probably be touched
 * soon: those that are EMPTY get memory, if nobody will miss it: a sixty-fourth of the device stays
 * free beyond it, no process waits for memory or is asked for some, no host memory is taken. Unless
 * they are touched they go as if kv_release_later() had been called. Static, managed and paused
 * reservations and those of another space are left alone. Counted in pages_ahead and, when touched,
 * in pages_ahead_used. At most 256 pages. -ENOMEM: there is none; errors of gpu_ops. What was
 * backed before an error stays.
 */
int kv_touch_ahead(struct kv_space *space, struct kv_reservation *r, const struct kv_range *ranges,
	uint32_t n_ranges);

/* [inside] One run of pages in the same condition, for copies out of and zero fills over EMPTY
 * pages. */
struct kv_run {
	uint64_t offset; /* bytes from the base */
	uint64_t length; /* bytes, at least 1 */
	bool empty;      /* true: EMPTY, reads as zero, has no memory */
};
/*
 * The longest run at offset, clipped to end and to the reservation. offset < end, offset inside.
 */
void kv_run_at(struct kv_reservation *r, uint64_t offset, uint64_t end, struct kv_run *ret_run);

/*
 * [inside] P2: the work about to be submitted sets [offset, offset+length) to zero.
 * Settles first (see kv_settle()), so that nothing of ours can fail after it. Then EVICTED pages
 * wholly inside become EMPTY at once (their host copy is dropped), since what is EMPTY reads as
 * zero already; EVICTED pages partly inside are restored; EMPTY ones stay as they are. After it,
 * kv_run_at() tells which parts need a fill by the driver (not empty) and which do not. When the
 * fill has been submitted successfully, kv_zero_done() remembers that the whole pages inside are
 * zero, unless they were touched in between. Who can know that the driver will refuse the fill must
 * not call kv_zero(): what was EVICTED is zero then. Errors as kv_touch(): nothing has become zero.
 */
int kv_zero(struct kv_reservation *r, uint64_t offset, uint64_t length);
void kv_zero_done(struct kv_reservation *r, uint64_t offset, uint64_t length);

/*
 * P7, leaked: the reservation is static from now on: whole before every later submission. Backs
 * nothing by itself: kv_settle() does, at the next submission (a capture is none). by: kernel or
 * entry point, copied. The first reason wins. May be called inside or outside.
 * KV_STATIC_EXPORT also pins, whatever the first reason was: from then on its memory is never
 * taken away, since others than this process's kernels know it.
 */
void kv_leak(struct kv_reservation *r, enum kv_static_reason reason, const char *by);
void kv_leak_all(struct kv_core *core, enum kv_static_reason reason, const char *by);
/* The same for work that only reads through the pointer that it got, or for nobody's pointer: the
 * reservation may keep its copies (kv_core_config.keep_copies). */
void kv_leak_read(struct kv_reservation *r, enum kv_static_reason reason, const char *by);

/*
 * [inside] P7, transient: the work about to be submitted may touch any byte of [offset,
 * offset+length), and keeps no pointer. Backs these pages; those that were EMPTY are remembered and
 * released again at the next quiesced point (kv_reap()) if nothing else has touched them and they
 * are zero or dead. assume_dead: what the work writes into pages that were EMPTY is never read (an
 * engine's contract). length is clipped to the reservation. Errors as kv_touch().
 */
int kv_touch_transient(
	struct kv_reservation *r, uint64_t offset, uint64_t length, bool assume_dead);

/*
 * [inside] P5, P8: what the work submitted so far has left in the whole pages of [offset,
 * offset+length) is dead: nobody will read it before having written it. Pages in device or spilled
 * memory are marked and released at the next quiesced point (kv_reap()) without being copied,
 * unless they are touched before; pages in host memory become EMPTY at once, since no work in
 * flight can reach them. What is released reads as zero. length is clipped to the reservation, and
 * what reaches its last requested byte reaches its end. A static reservation is left alone. Makes
 * no driver call. Returns the bytes that have been marked or dropped by this call.
 */
uint64_t kv_release(struct kv_reservation *r, uint64_t offset, uint64_t length);
/*
 * [inside] The same, but pages that have memory keep it for a while, since they may be wanted again
 * soon: unless they are touched, they are released when between half of kv_core_config.linger_ns
 * and all of it is over, or first of all when memory is asked for (kv_evict()). What is in host
 * memory stays. Makes no driver call. Returns the bytes that have been marked by this call.
 */
uint64_t kv_release_later(struct kv_reservation *r, uint64_t offset, uint64_t length);

/*
 * [inside] Before the driver call of every submission: makes all static reservations whole. One
 * relaxed load when there is nothing to do. -ENOMEM as kv_touch().
 */
static inline int kv_settle(struct kv_core *core);

/* ---- taking pages away ---- */

/*
 * [outside] Quiesces (gate closed, device drained), moves the content of BACKED pages of the space
 * to host memory, at least bytes (UINT64_MAX: all), unmaps them and releases their memory to the
 * driver. Pages found all zero become EMPTY instead. What needs no copy goes first, static
 * reservations last: they are whole again before the next submission. A reservation with one handle
 * goes whole. SPILLED pages cost no device memory and stay. ret_bytes (may be NULL): device bytes
 * released. 0: done, or done until an error was met. With nothing released: -ETIMEDOUT (work in
 * flight did not finish: nothing changed), -EBUSY (a capture is open, or somebody else is
 * quiescing), -ENOMEM (no host memory), or another error of gpu_ops.
 */
int kv_evict(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes);
/* [outside] The same for all of one reservation. A pinned one stays as it is: 0 bytes. */
int kv_evict_one(struct kv_reservation *r, uint64_t *ret_bytes);
/* The same for all spaces and all bytes. Goes on after an error; returns the first one. */
int kv_evict_all(struct kv_core *core);

/*
 * [outside] The same by windows of 1 GiB, the gate open in between, and counted as one eviction in
 * the statistics. while_idle: stops after a window in which somebody submitted work.
 */
int kv_evict_gently(struct kv_space *space, uint64_t bytes, bool while_idle, uint64_t *ret_bytes);
/* [outside] The same for a process that goes on working: windows of 128 MiB. */
int kv_evict_beside_work(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes);
/*
 * [outside] Moves EVICTED pages back to the device before anybody touches them, about bytes of them
 * (UINT64_MAX: all; static reservations whole), in pieces between which others can close the gate.
 * ret_bytes (may be NULL): how much. 0: done, or done until an error was met. With nothing done:
 * errors as kv_touch().
 */
int kv_restore(struct kv_space *space, uint64_t bytes, uint64_t *ret_bytes);
/*
 * [outside] kv_pause() and kv_resume() (want.h) for every reservation of the space with this tag;
 * "": for all. *ret_bytes: device bytes released, or bytes brought back. -ENOENT: there is none.
 * Goes on after an error; returns the first one.
 */
int kv_space_pause(struct kv_space *space, const char *tag, uint64_t *ret_bytes);
int kv_space_resume(struct kv_space *space, const char *tag, uint64_t *ret_bytes);

/*
 * [outside] Releases pages that releases, transient touches and zero fills have left behind, if
 * they are dead or zero; their handles become spares. Returns as kv_evict(). The gate stays open
 * when nothing is marked. To be called now and then by whoever has the time: it also returns unused
 * host memory.
 */
int kv_reap(struct kv_space *space, uint64_t *ret_bytes);
/* [outside] The same, and pages whose memory is kept for a while, or came ahead: somebody needs it.
 */
int kv_reap_spares(struct kv_space *space, uint64_t *ret_bytes);
/* [hot] True if kv_reap() may find something. */
bool kv_space_is_marked(const struct kv_space *space);

/* ---- checkers ---- */

/*
 * Walks everything and verifies the five invariants as far as core can see them: page states
 * against mappings and handles, counters against pages, promises against reservations, the table's
 * order, whole flags, the gate. 0, or -EPROTO with the first violation described in text (size
 * bytes). [outside], nobody else may be changing pages.
 */
int kv_core_check(struct kv_core *core, char *text, uint32_t size);

#include "core/hot.h" /* the bodies of the inline functions above */

#endif
