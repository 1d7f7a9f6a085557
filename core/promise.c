/* SPDX-License-Identifier: Apache-2.0 */
/*
 * promise.c - invariant 4, pay first: what is reserved and not backed must be there when it is
 * needed.
 *
 *   promised = reserved - backed - spilled       (pages that still need memory)
 *   there    = free memory of the device + spare handles + host budget left + overcommit
 *
 * Pages that are EVICTED count as promised: they come back to the device. All sums saturate.
 *
 * Where others share the device, the ledger decides, by the same rule over all of them:
 *
 *   sum of reserved + native + outside <= device + sum of host budgets + overcommit
 */
#include <errno.h>
#include <time.h>

#include "core/space.h"
#include "core/poison.h"

/* A decision is made from a reading of the driver; it is read again if pages changed meanwhile. */
#define DECISION_TRIES 16
/* Longer than pages that were waited for stay with whoever got them (a second). */
#define ROOM_NS 1500000000ull
#define ROOM_PAUSE_NS 100000000l

uint64_t kv_space_unbacked_exact(const struct kv_space *space)
{
	uint64_t reserved = kv_counted(&space->reserved);

	return kv_sub_sat(
		reserved, kv_add_sat(kv_counted(&space->backed), kv_counted(&space->spilled)));
}

static uint64_t budget_left(const struct kv_space *space)
{
	return kv_sub_sat(space->core->config.host_budget, kv_counted(&space->host_taken));
}

uint64_t kv_space_unbacked(const struct kv_space *space)
{
	return kv_sub_sat(kv_space_unbacked_exact(space), budget_left(space));
}

/*
 * Can extra bytes be promised after native bytes have been taken from the device? If so, they are
 * added to reserved. -ENOMEM: no. Other errors: of memory_info.
 */
static int decide(struct kv_space *space, uint64_t extra, uint64_t native, uint64_t *ret_free)
{
	const struct kv_core_config *config = &space->core->config;
	const struct kv_ledger *ledger = &space->sink.ledger;

	for (int i = 0;; i++) {
		uint64_t generation = atomic_load(&space->generation);
		uint64_t free_bytes, total, there, promised;
		int error = kv_gpu_memory_info(space, &free_bytes, &total);

		if (error < 0)
			return error;
		if (ledger->ops) {
			ledger->ops->seen(ledger->ctx, free_bytes, total);
			error = ledger->ops->promise(ledger->ctx, extra, native);
			if (error == 0) {
				kv_count(&space->reserved, extra);
				*ret_free = free_bytes;
			}
			/* In doubt this process decides by what it knows, as if it were alone. */
			if (error != -EAGAIN)
				return error;
		}
		there = kv_add_sat(free_bytes, kv_spare_bytes(space));
		if (native > there)
			return -ENOMEM;
		there = kv_add_sat(there - native, budget_left(space));
		there = kv_add_sat(there, config->overcommit_bytes);

		kv_lock_take(&space->lock);
		if (atomic_load(&space->generation) != generation && i + 1 < DECISION_TRIES) {
			kv_lock_drop(&space->lock);
			continue;
		}
		promised = kv_add_sat(kv_space_unbacked_exact(space), extra);
		if (promised <= there) {
			kv_count(&space->reserved, extra);
			error = 0;
		} else {
			error = -ENOMEM;
		}
		kv_lock_drop(&space->lock);
		if (error == 0) {
			*ret_free = free_bytes;
			if (extra && ledger->ops && ledger->ops->promised)
				ledger->ops->promised(ledger->ctx, extra);
		}
		return error;
	}
}

int kv_promise_take(struct kv_space *space, uint64_t size)
{
	uint64_t unused;
	int error = decide(space, size, 0, &unused);

	if (error == -ENOMEM) {
		kv_count(&space->refused, 1);
		kv_space_publish(space);
	}
	return error;
}

void kv_promise_give(struct kv_space *space, uint64_t size)
{
	const struct kv_ledger *ledger = &space->sink.ledger;

	kv_count(&space->reserved, -size);
	if (ledger->ops)
		ledger->ops->unpromise(ledger->ctx, size);
	kv_space_changed(space);
}

int kv_space_admit_native(struct kv_space *space, uint64_t size)
{
	uint64_t free_bytes = 0;
	int error;

	/* Nothing promised, nothing kept: the driver's own answer is the right one. */
	if (kv_space_unbacked_exact(space) == 0 && kv_spare_bytes(space) == 0)
		return 0;
	error = decide(space, 0, size, &free_bytes);
	if (error == -ENOMEM) {
		kv_count(&space->refused, 1);
		kv_space_publish(space);
		return error;
	}
	/* In doubt the native call is made. */
	if (error == 0 && size > free_bytes)
		kv_space_trim(space, size - free_bytes);
	return 0;
}

/* What must stay free beyond pages that nobody needs yet: a sixty-fourth of the device, more than
 * one growth step of most models. */
#define KEEP_SHIFT 6

int kv_unneeded_take(struct kv_space *space, uint64_t bytes)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	uint64_t free_bytes, total;
	int error = kv_gpu_memory_info(space, &free_bytes, &total);

	if (error < 0)
		return error;
	if (free_bytes < kv_add_sat(bytes, total >> KEEP_SHIFT))
		return -ENOMEM;
	if (!ledger->ops)
		return 0;
	if (ledger->ops->charge_unneeded)
		return ledger->ops->charge_unneeded(ledger->ctx, bytes, total >> KEEP_SHIFT);
	return bytes ? ledger->ops->charge(ledger->ctx, bytes) : 0;
}

void kv_unneeded_give(struct kv_space *space, uint64_t bytes)
{
	const struct kv_ledger *ledger = &space->sink.ledger;

	if (bytes && ledger->ops)
		ledger->ops->uncharge(ledger->ctx, bytes);
}

bool kv_budget_take(struct kv_space *space, uint64_t size)
{
	uint64_t taken = kv_counted(&space->host_taken);

	do {
		if (kv_sub_sat(space->core->config.host_budget, taken) < size)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&space->host_taken, &taken, taken + size,
		memory_order_relaxed, memory_order_relaxed));
	return true;
}

void kv_budget_give(struct kv_space *space, uint64_t size)
{
	kv_count(&space->host_taken, -size);
	kv_space_changed(space);
}

uint64_t kv_space_could_get(struct kv_space *space, uint64_t driver_free, uint64_t driver_total)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	uint64_t could = driver_free;

	if (ledger->ops && ledger->ops->could_get) {
		ledger->ops->seen(ledger->ctx, driver_free, driver_total);
		if (ledger->ops->could_get(ledger->ctx, &could) < 0)
			could = driver_free;
	}
	return kv_add_sat(could, kv_spare_bytes(space));
}

int kv_space_room(
	struct kv_space *space, uint64_t *ret_backed, uint64_t *ret_growth, uint64_t *ret_page)
{
	uint64_t unbacked = kv_space_unbacked_exact(space), room, free_bytes, total;
	int error = kv_gpu_memory_info(space, &free_bytes, &total);

	if (error < 0)
		return error;
	room = kv_space_could_get(space, free_bytes, total);
	*ret_growth = room < unbacked ? room : unbacked;
	*ret_backed = kv_counted(&space->backed);
	*ret_page = space->page_size;
	return 0;
}

/* Others, known or not, hold at least so much of the device. */
static bool others_hold(struct kv_space *space, uint64_t size)
{
	uint64_t free_bytes, total, own;

	if (kv_gpu_memory_info(space, &free_bytes, &total) < 0)
		return false;
	own = kv_add_sat(kv_counted(&space->backed), kv_spare_bytes(space));
	own = kv_add_sat(own, kv_counted(&space->native));
	return kv_sub_sat(kv_sub_sat(total, free_bytes), own) >= size;
}

bool kv_space_make_room(struct kv_space *space, uint64_t size, uint64_t start_ns, bool *ret_aside)
{
	const struct kv_ledger *ledger = &space->sink.ledger;
	uint64_t bytes = kv_space_give_unused(space, size);
	int error;

	*ret_aside = false;
	if (!ledger->ops)
		return bytes > 0;
	if (bytes >= size) {
		*ret_aside = ledger->ops->put_aside != NULL;
		if (*ret_aside)
			ledger->ops->put_aside(ledger->ctx, (int64_t)size);
		return true;
	}
	/* Idle neighbours' caches must not keep an engine from starting. What was granted for pages
	 * is not to be mistaken for room. */
	if (ledger->ops->put_aside)
		ledger->ops->put_aside(ledger->ctx, 0);
	/* Nobody can give now: those who got their pages lately can soon. Pages would be spilled
	 * meanwhile; native memory has nothing else to fall back to. All waits share the ledger's
	 * bound, and the tries of one allocation the time for retries. */
	for (;;) {
		error = kv_ledger_wait(space, size, start_ns, false);
		if (error == 0 || kv_sub_sat(kv_gpu_now(space), start_ns) >= ROOM_NS ||
			!others_hold(space, size))
			break;
		nanosleep(&(struct timespec){.tv_nsec = ROOM_PAUSE_NS}, NULL);
	}
	/* Neither pages nor others get what has come, until the driver has made native memory of
	 * it. */
	if (ledger->ops->put_aside)
		ledger->ops->put_aside(ledger->ctx, error == 0 ? (int64_t)size : 0);
	*ret_aside = error == 0 && ledger->ops->put_aside;
	return error == 0 || bytes > 0;
}

void kv_space_room_used(struct kv_space *space, uint64_t size)
{
	const struct kv_ledger *ledger = &space->sink.ledger;

	if (ledger->ops && ledger->ops->put_aside)
		ledger->ops->put_aside(ledger->ctx, -(int64_t)size);
}
