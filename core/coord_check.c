/* SPDX-License-Identifier: Apache-2.0 */
/* coord_check.c - reading a segment whose every byte may be wrong; see coord_shm.h. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/coord_shm.h"

#define READ_TRIES 64

/* Never to be moved: readers of every version find these where they are. */
_Static_assert(offsetof(struct kv_coord_segment, layout) == 8, "the layout stays in its place");
_Static_assert(offsetof(struct kv_coord_segment, mutex) == 128, "what precedes the mutex is fixed");

static int wrong(int error, char *text, uint32_t size, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int wrong(int error, char *text, uint32_t size, const char *format, ...)
{
	va_list args;

	if (text && size) {
		va_start(args, format);
		vsnprintf(text, size, format, args);
		va_end(args);
	}
	return error;
}

int kv_coord_check_header(const void *bytes, uint64_t size, char *text, uint32_t text_size)
{
	const struct kv_coord_segment *segment = bytes;
	uint64_t magic;
	uint32_t layout;

	if (size < offsetof(struct kv_coord_segment, header_size))
		return wrong(
			-EPROTO, text, text_size, "only %llu bytes long", (unsigned long long)size);
	memcpy(&magic, &segment->magic, sizeof(magic));
	memcpy(&layout, &segment->layout, sizeof(layout));
	if (magic != KV_COORD_MAGIC)
		return wrong(-EPROTO, text, text_size, "it does not begin as a segment does");
	if (layout != KV_COORD_LAYOUT)
		return wrong(-EPROTONOSUPPORT, text, text_size,
			"layout %u, this kvshim has layout %u", layout, KV_COORD_LAYOUT);
	if (size != sizeof(*segment))
		return wrong(-EPROTO, text, text_size, "%llu bytes long instead of %llu",
			(unsigned long long)size, (unsigned long long)sizeof(*segment));
	if (segment->header_size != offsetof(struct kv_coord_segment, slots) ||
		segment->slot_size != sizeof(struct kv_coord_slot) ||
		segment->n_slots != KV_COORD_SLOTS || segment->size != sizeof(*segment) ||
		segment->mutex_size != sizeof(pthread_mutex_t))
		return wrong(
			-EPROTO, text, text_size, "its sizes are not those of layout %u", layout);
	if (__atomic_load_n(&segment->ready, __ATOMIC_ACQUIRE) != 1)
		return wrong(-EPROTO, text, text_size, "it was never finished");
	return 0;
}

static int check_row(const struct kv_reservation_stats *row)
{
	uint64_t pages = 0;

	if (!row->base)
		return 0;
	for (int i = 0; i < 8; i++)
		pages += row->pages[i];
	if (memchr(row->rules, 0, sizeof(row->rules)) == NULL)
		return -EPROTO;
	if (row->reserved == 0 || row->requested > row->reserved ||
		row->base + row->reserved < row->base || row->page_size == 0 ||
		row->static_reason > KV_STATIC_HINTS ||
		pages > row->reserved / row->page_size + 1 ||
		memchr(row->static_by, 0, sizeof(row->static_by)) == NULL ||
		memchr(row->tag, 0, sizeof(row->tag)) == NULL)
		return -EPROTO;
	return 0;
}

static int check_control(const struct kv_coord_control *control)
{
	const struct kv_coord_limits *limits = &control->limits;

	if (limits->min > limits->max || limits->weight == 0 ||
		limits->weight > KV_COORD_WEIGHT_MAX)
		return -EPROTO;
	for (uint32_t i = 0; i < KV_COORD_COMMANDS; i++)
		if (memchr(control->commands[i].tag, 0, sizeof(control->commands[i].tag)) == NULL)
			return -EPROTO;
	return 0;
}

int kv_coord_check_slot(const struct kv_coord_slot *copy, char *text, uint32_t text_size)
{
	if (copy->state != KV_COORD_ACTIVE && copy->state != KV_COORD_INERT)
		return wrong(-EPROTO, text, text_size, "state %u", copy->state);
	if (copy->owner_pid <= 0)
		return wrong(-EPROTO, text, text_size, "owner %d", copy->owner_pid);
	if (memchr(copy->name, 0, sizeof(copy->name)) == NULL ||
		memchr(copy->note, 0, sizeof(copy->note)) == NULL)
		return wrong(-EPROTO, text, text_size, "a name without an end");
	for (uint32_t i = 0; i < KV_COORD_ROWS; i++)
		if (check_row(&copy->rows[i]) != 0)
			return wrong(
				-EPROTO, text, text_size, "reservation row %u makes no sense", i);
	if (check_control(&copy->control) != 0)
		return wrong(-EPROTO, text, text_size, "limits or commands make no sense");
	return 0;
}

int kv_coord_check_account(
	const struct kv_coord_account *copy, uint64_t gpu_total, char *text, uint32_t text_size)
{
	if (copy->activity > KV_COORD_EVICTED)
		return wrong(-EPROTO, text, text_size, "activity %u", copy->activity);
	if (copy->charged > gpu_total)
		return wrong(-EPROTO, text, text_size, "charged with more than the device has");
	if (copy->granted > gpu_total)
		return wrong(-EPROTO, text, text_size, "granted more than the device has");
	return 0;
}

int kv_coord_check_sums(const struct kv_coord_segment *segment, char *text, uint32_t text_size)
{
	uint64_t charged = 0;

	for (uint32_t i = 0; i < KV_COORD_SLOTS; i++) {
		struct kv_coord_account account;

		if (i >= segment->used_end && __atomic_load_n(&segment->slots[i].state,
						      __ATOMIC_ACQUIRE) != KV_COORD_FREE)
			return wrong(-EPROTO, text, text_size, "slot %u is in use, sums look at %u",
				i, segment->used_end);
		kv_coord_read_account(segment, i, &account);
		if (kv_coord_check_account(&account, segment->gpu_total, text, text_size) != 0)
			return -EPROTO;
		/* held moves without the mutex, but a charge comes before it and goes after it */
		if (account.held > account.charged && !account.blind)
			return wrong(-EPROTO, text, text_size,
				"account %u holds %llu bytes and is charged with %llu", i,
				(unsigned long long)account.held,
				(unsigned long long)account.charged);
		/* each is at most the device, and they are few: no overflow that matters */
		charged += account.charged + account.granted;
	}
	if (charged > segment->gpu_total)
		return wrong(-EPROTO, text, text_size, "charged with %llu bytes of %llu",
			(unsigned long long)charged, (unsigned long long)segment->gpu_total);
	return 0;
}

int kv_coord_read_slot(const struct kv_coord_slot *shared, struct kv_coord_slot *ret_copy)
{
	uint32_t state, before, after, generation;

	for (int i = 0; i < READ_TRIES; i++) {
		state = __atomic_load_n(&shared->state, __ATOMIC_ACQUIRE);
		if (state == KV_COORD_FREE)
			return -ENOENT;
		generation = __atomic_load_n(&shared->generation, __ATOMIC_RELAXED);
		/* acquire: partner is the release store that ends a write in coord_slot.c */
		before = __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE);
		memcpy(ret_copy, shared, sizeof(*ret_copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		after = __atomic_load_n(&shared->seq, __ATOMIC_RELAXED);
		if (before == after && before % 2 == 0 &&
			__atomic_load_n(&shared->state, __ATOMIC_RELAXED) == state &&
			__atomic_load_n(&shared->generation, __ATOMIC_RELAXED) == generation)
			return 0;
	}
	return -EAGAIN;
}

void kv_coord_read_account(
	const struct kv_coord_segment *shared, uint32_t index, struct kv_coord_account *ret_copy)
{
	const uint64_t *from = (const uint64_t *)&shared->accounts[index];
	uint64_t *to = (uint64_t *)ret_copy;

	/* held is read before charged: a charge comes before what is held under it. Acquire:
	 * partner is the release store of held in coord_ledger.c */
	ret_copy->held = __atomic_load_n(&shared->accounts[index].held, __ATOMIC_ACQUIRE);
	for (unsigned i = 0; i < sizeof(*ret_copy) / sizeof(uint64_t); i++)
		if (i != offsetof(struct kv_coord_account, held) / sizeof(uint64_t))
			to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

uint32_t kv_coord_read_decisions(
	const struct kv_coord_segment *shared, struct kv_coord_decision *ret_copies, uint32_t max)
{
	uint64_t last = __atomic_load_n(&shared->n_decisions, __ATOMIC_ACQUIRE), first;
	uint32_t n = 0;

	if (max > KV_COORD_DECISIONS)
		max = KV_COORD_DECISIONS;
	first = last > max ? last - max + 1 : 1;
	for (uint64_t number = first; number <= last && n < max; number++) {
		const struct kv_coord_decision *entry =
			&shared->decisions[(number - 1) % KV_COORD_DECISIONS];
		struct kv_coord_decision *copy = &ret_copies[n];

		/* acquire: partner is the release store of number when the entry is complete */
		if (__atomic_load_n(&entry->number, __ATOMIC_ACQUIRE) != number)
			continue;
		memcpy(copy, entry, sizeof(*copy));
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&entry->number, __ATOMIC_RELAXED) != number)
			continue;
		copy->number = number;
		copy->text[sizeof(copy->text) - 1] = '\0';
		n++;
	}
	return n;
}

int kv_coord_check(const void *bytes, uint64_t size, char *text, uint32_t text_size)
{
	const struct kv_coord_segment *segment = bytes;
	struct kv_coord_account account;
	struct kv_coord_slot copy;
	char what[128];
	int error = kv_coord_check_header(bytes, size, text, text_size);

	for (uint32_t i = 0; !error && i < KV_COORD_SLOTS; i++) {
		if (kv_coord_read_slot(&segment->slots[i], &copy) != 0)
			continue;
		if (kv_coord_check_slot(&copy, what, sizeof(what)) != 0)
			error = wrong(-EPROTO, text, text_size, "slot %u: %s", i, what);
		kv_coord_read_account(segment, i, &account);
		if (!error && kv_coord_check_account(
				      &account, segment->gpu_total, what, sizeof(what)) != 0)
			error = wrong(-EPROTO, text, text_size, "account %u: %s", i, what);
	}
	return error;
}
