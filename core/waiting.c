/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting.c - waiting for device memory that others have to give: for how long, and in which order
 * of devices.
 *
 * How long: all waits of one submission share one bound, from the first of them on, whatever it
 * touches and on how many devices. After it each look is the last: what cannot be had is spilled.
 *
 * Which order: who waits for pages is inside its gate, so that its own agents, on all devices,
 * cannot give what takes a closed gate. Processes could wait for each other in a circle:
 *
 *   A, with pages of device 1, waits on device 0 for B, which has pages there and waits on device 1
 *
 * Devices have one order for everybody, that of their UUIDs. A wait descends if its process holds
 * pages on a device that comes after the one waited for. Who waits says so in its accounts on all
 * devices, and
 *
 *   1. a wait that descends does not count on anybody who is waiting itself, on any device, but for
 *      what is given without a gate (spare handles, leases);
 *   2. nobody counts on the dead pages of one who waits on the same device, since reaping closes
 * the gate; what is in use is asked only of one above its share by one below it (policy.h).
 *
 * So there is no circle P1 -> P2 -> ... -> P1, in which each waits for the next one's pages. Let di
 * be the device that Pi waits on: P(i+1) holds pages there. If all of them are one device, rule 2
 * leaves steps from below a share to above it only, and who is above its share asks for nobody's
 * pages in use. If not, there is an i with d(i-1) after d(i): Pi holds pages on d(i-1), so its wait
 * on d(i) descends, and by rule 1 it does not wait for P(i+1), which waits. All this is looked at
 * anew in each turn of a wait, at once when somebody begins to wait elsewhere, so that a circle
 * that closes between two looks opens with the next one, not with the bound of the wait.
 *
 * Of two ranks that have filled each other's device the one that waits on the later device waits;
 * the other one goes on at once, by spilling, leaves its gate, and gives.
 */
#include <errno.h>
#include <string.h>

#include "core/space.h"
#include "core/poison.h"

/* The submission that this thread makes now, told by its pass of the gate. */
static __thread struct {
	const struct kv_core *core; /* NULL: it has made none */
	uint32_t slot;
	uint64_t pass;
	uint64_t since_ns; /* its first wait; 0: none */
} submission __attribute__((tls_model("initial-exec")));

void kv_waiting_thread(const struct kv_core *core, uint32_t slot)
{
	submission.core = core;
	submission.slot = slot % KV_GATE_SLOTS;
	submission.since_ns = 0;
}

uint64_t kv_waiting_since(struct kv_space *space)
{
	uint64_t now = kv_gpu_now(space), word;

	if (submission.core != space->core)
		return now; /* the agent, bringing things back */
	word = atomic_load_explicit(
		&space->core->hot.gate.slots[submission.slot].word, memory_order_relaxed);
	/* Of threads that share a slot each pass looks like one's own: a bound more. */
	if (!submission.since_ns || submission.pass != word >> KV_GATE_PASS_SHIFT) {
		submission.pass = word >> KV_GATE_PASS_SHIFT;
		submission.since_ns = now;
	}
	return submission.since_ns;
}

/* Bucket of a histogram of nanoseconds. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned bucket = 0;

	while (ns >>= 1)
		bucket++;
	return bucket < KV_STATS_BUCKETS ? bucket : KV_STATS_BUCKETS - 1;
}

/* Does this process hold pages on a device that comes after this one? */
static bool descends(const void *arg)
{
	const struct kv_space *space = arg, *other;

	for (other = kv_space_first(space->core); other; other = other->next) {
		if (other->sink.ledger.ops && kv_counted(&other->backed) &&
			memcmp(other->sink.ledger.order, space->sink.ledger.order,
				sizeof(space->sink.ledger.order)) > 0)
			return true;
	}
	return false;
}

/* Tells the other devices that a thread waits on this one, or (n is -1) does so no more. */
static void tell_others(const struct kv_space *space, int n)
{
	const struct kv_space *other;

	for (other = kv_space_first(space->core); other; other = other->next) {
		const struct kv_ledger *ledger = &other->sink.ledger;

		if (other != space && ledger->ops && ledger->ops->elsewhere)
			ledger->ops->elsewhere(ledger->ctx, n);
	}
}

int kv_ledger_wait(struct kv_space *space, uint64_t bytes, uint64_t start_ns, bool inside)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	struct kv_ledger_wait wait = {.bytes = bytes, .start_ns = start_ns};
	uint64_t free_bytes, total, before = kv_gpu_now(space), waited;
	int error;

	kv_rank_assert_none();
	if (kv_gpu_memory_info(space, &free_bytes, &total) == 0)
		ledger->ops->seen(ledger->ctx, free_bytes, total);
	if (inside) {
		wait.descends = descends;
		wait.arg = space;
		tell_others(space, 1);
	}
	error = ledger->ops->wait(ledger->ctx, &wait);
	if (inside)
		tell_others(space, -1);
	waited = kv_sub_sat(kv_gpu_now(space), before);
	kv_count(&space->waits, 1);
	kv_count(&space->wait_timeouts, error < 0);
	kv_count(&space->waits_crossed, error == -EDEADLK);
	kv_count(&space->wait_ns, waited);
	kv_count_max(&space->wait_ns_max, waited);
	atomic_fetch_add_explicit(&space->wait_hist[bucket_of(waited)], 1, memory_order_relaxed);
	return error < 0 ? -ENOMEM : 0;
}
