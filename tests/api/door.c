/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.c - see door.h: what hooks give to the API.
 */
#include "tests/api/door.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "hooks/hooks.h"
#include "shim/log.h"

struct fixture door;
_Atomic bool door_captures;
static bool is_open;
static __thread uint32_t n_tags;
static __thread uint32_t slot_plus_1; /* of the gate; each call of core's gives another one */

void door_open(struct fixture_options options)
{
	kv_log_set_lines(0);
	fixture_open(&door, options);
	is_open = true;
}

const char *door_close(void)
{
	is_open = false;
	return fixture_close(&door);
}

int door_use(uint64_t address, uint64_t length, uint8_t value, bool write)
{
	uint8_t bytes[256];
	int error = 0;

	memset(bytes, value, sizeof(bytes));
	if (!kv_call_enter())
		return -ENODEV;
	error = kv_settle(door.core);
	if (length > sizeof(bytes))
		length = sizeof(bytes);
	if (error == 0 && write) {
		fake_gpu_write(door.gpu, address, bytes, length);
	} else if (error == 0) {
		fake_gpu_read(door.gpu, address, bytes, length);
		for (uint64_t i = 0; i < length; i++)
			error = bytes[i] == value ? error : -EUCLEAN;
	}
	kv_call_leave();
	return error;
}

/* ---- hooks.h ---- */

enum kv_hooks_mode kv_hooks_mode(void)
{
	return is_open ? KV_HOOKS_ACTIVE : KV_HOOKS_UNREADY;
}

struct kv_core *kv_hooks_core(void)
{
	return door.core;
}

struct kv_space *kv_hooks_space(int ordinal)
{
	return ordinal == 0 ? door.space : NULL;
}

bool kv_hooks_captures(void)
{
	return atomic_load(&door_captures);
}

bool kv_call_enter(void)
{
	if (!slot_plus_1)
		slot_plus_1 = kv_core_thread_slot(door.core) + 1;
	kv_core_enter(door.core, slot_plus_1 - 1);
	kv_core_count_other(door.core, slot_plus_1 - 1, 1); /* no launch */
	return true;
}

void kv_call_leave(void)
{
	kv_core_leave(door.core, slot_plus_1 - 1);
}

void kv_call_begin(void)
{
}

void kv_call_end(void)
{
}

int kv_tag_push(enum kv_tag tag, const char *name, int priority)
{
	(void)tag;
	(void)name;
	(void)priority;
	if (n_tags == 16)
		return -ENOSPC;
	n_tags++;
	return 0;
}

int kv_tag_pop(void)
{
	if (!n_tags)
		return -ENOENT;
	n_tags--;
	return 0;
}

int kv_hooks_allocate(uint64_t size, const char *tag, struct kv_reservation **ret_reservation)
{
	if (kv_hooks_captures())
		return -EBUSY;
	return kv_reservation_new(door.space, size, tag, 0, ret_reservation);
}

void kv_hooks_release(uint64_t addr)
{
	kv_reservation_free(door.core, addr);
}
