/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvtx.c - tags from NVTX ranges: the shim as NVTX injection library (NVTX_INJECTION64_PATH).
 *
 * A process that uses NVTX 3 loads the library that this variable names and asks it to take the
 * calls of interest. Here these are the ranges of threads, push and pop, of the default and of
 * other domains, by names as they are, wide or registered; a range whose name is listed in
 * KVSHIM_NVTX_KV tags the allocations inside of it. Types are written down here as far as they are
 * needed: an interface that NVTX keeps stable (nvtxTypes.h, export table of callbacks).
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "core/select.h"
#include "hooks/hooks.h"
#include "shim/config.h"
#include "shim/log.h"

#define EXPORT __attribute__((visibility("default")))
#define TABLE_CALLBACKS 1u
#define MODULE_CORE 1
#define MODULE_CORE2 5
/* Places in the tables of the two modules. */
#define CORE_PUSH_EX 8u
#define CORE_PUSH_A 9u
#define CORE_PUSH_W 10u
#define CORE_POP 11u
#define CORE2_PUSH_EX 4u
#define CORE2_POP 5u
#define CORE2_REGISTER_A 10u
#define CORE2_REGISTER_W 11u
#define MESSAGE_ASCII 1
#define MESSAGE_UNICODE 2
#define MESSAGE_REGISTERED 3
#define WIDE_MAX 256u        /* bytes that are compared of a wide name */
#define REGISTERED_MAX 4096u /* names that a process registers; the rest tag nothing */

struct attributes {
	uint16_t version, size;
	uint32_t category;
	int32_t color_type;
	uint32_t color;
	int32_t payload_type, reserved;
	uint64_t payload;
	int32_t message_type;
	union {
		const char *text;
		const wchar_t *wide;
		uintptr_t handle;
	} message;
};

typedef void (*any_function)(void);
struct callbacks {
	size_t size;
	int (*module_table)(int module, any_function ***ret_table, unsigned int *ret_size);
};

int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t table));

static const char *names; /* globs; set before the calls are taken, then constant */

/*
 * Which of the ranges that this thread has open are tags, as bits, innermost first. Ranges of all
 * domains lie on one stack: those of different domains may overlap, then the tag ends a little
 * early or late. Beyond 64 none is a tag.
 */
static __thread struct {
	uint64_t tagged;
	uint32_t depth;
} ranges __attribute__((tls_model("initial-exec")));

/* ---- names ---- */

/* A wide name as UTF-8, as far as it fits; what is no character becomes a '?'. */
static const char *narrow(const wchar_t *wide, char *text, size_t size)
{
	size_t n = 0;

	for (; *wide && n + 5 <= size; wide++) {
		uint32_t c = (uint32_t)*wide;

		if (c < 0x80) {
			text[n++] = (char)c;
		} else if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
			text[n++] = '?';
		} else {
			int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

			text[n++] = (char)(uint8_t)(0xff00 >> (more + 1) | c >> 6 * more);
			while (more--)
				text[n++] = (char)(uint8_t)(0x80 | (c >> 6 * more & 0x3f));
		}
	}
	text[n] = '\0';
	return text;
}

/* Names that are registered once and pushed by handle, which is 1 plus their place here. Kept for
 * the life of the process: ranges of a domain that is gone may still be open. */
static struct {
	_Atomic uint32_t n;                    /* atomic: relaxed; places given out */
	_Atomic(char *) names[REGISTERED_MAX]; /* atomic: release, partner acquire */
} registered;

static uintptr_t register_a(void *domain, const char *name)
{
	uint32_t place = atomic_load_explicit(&registered.n, memory_order_relaxed);
	char *copy;

	(void)domain;
	do {
		if (!name || place >= REGISTERED_MAX)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(
		&registered.n, &place, place + 1, memory_order_relaxed, memory_order_relaxed));
	copy = strdup(name);
	atomic_store_explicit(&registered.names[place], copy, memory_order_release);
	return place + 1;
}

static uintptr_t register_w(void *domain, const wchar_t *name)
{
	char text[WIDE_MAX];

	return register_a(domain, name ? narrow(name, text, sizeof(text)) : NULL);
}

/* NULL: no such name, or there was no memory for it. */
static const char *registered_name(uintptr_t handle)
{
	if (!handle || handle > REGISTERED_MAX)
		return NULL;
	return atomic_load_explicit(&registered.names[handle - 1], memory_order_acquire);
}

/* ---- ranges ---- */

static void push(const char *name)
{
	bool is_kv = name && ranges.depth < 64 && kv_select_matches(names, name) &&
		     kv_tag_push(KV_TAG_LAZY, name, 128) == 0;

	ranges.tagged = ranges.tagged << 1 | is_kv;
	ranges.depth++;
}

static int pop(void)
{
	if (!ranges.depth)
		return -1;
	ranges.depth--;
	if (ranges.tagged & 1)
		kv_tag_pop();
	ranges.tagged >>= 1;
	return (int)ranges.depth;
}

static int push_a(const char *message)
{
	push(message);
	return (int)ranges.depth - 1;
}

static int push_w(const wchar_t *message)
{
	char text[WIDE_MAX];

	push(message ? narrow(message, text, sizeof(text)) : NULL);
	return (int)ranges.depth - 1;
}

static int push_ex(const struct attributes *a)
{
	bool whole = a && a->size >= sizeof(*a);

	if (whole && a->message_type == MESSAGE_UNICODE)
		return push_w(a->message.wide);
	if (whole && a->message_type == MESSAGE_REGISTERED)
		push(registered_name(a->message.handle));
	else
		push(whole && a->message_type == MESSAGE_ASCII ? a->message.text : NULL);
	return (int)ranges.depth - 1;
}

static int domain_push_ex(void *domain, const struct attributes *a)
{
	(void)domain;
	return push_ex(a);
}

static int domain_pop(void *domain)
{
	(void)domain;
	return pop();
}

/* Ours in place of what the module's table calls, where it has one. */
static void take(
	const struct callbacks *callbacks, int module, unsigned int place, any_function ours)
{
	unsigned int size = 0;
	any_function **table = NULL;

	if (callbacks->module_table(module, &table, &size) && table && place < size && table[place])
		*table[place] = ours;
}

/* Called by NVTX, once per object that has NVTX in it. 1: taken. 0: nothing to take, so that ranges
 * cost nothing from then on. */
EXPORT int InitializeInjectionNvtx2(const void *(*export_table)(uint32_t table))
{
	const struct callbacks *callbacks = export_table ? export_table(TABLE_CALLBACKS) : NULL;
	static struct kv_config config; /* kept: names point into it */

	if (!names) {
		if (kv_config_read(&config, environ, NULL, NULL) < 0 ||
			!kv_config_number(&config, KV_OPT_ENABLE))
			return 0;
		names = kv_config_text(&config, KV_OPT_NVTX_KV);
	}
	if (!names || !*names || !callbacks || callbacks->size < sizeof(*callbacks))
		return 0;
	take(callbacks, MODULE_CORE, CORE_PUSH_A, (any_function)push_a);
	take(callbacks, MODULE_CORE, CORE_PUSH_W, (any_function)push_w);
	take(callbacks, MODULE_CORE, CORE_PUSH_EX, (any_function)push_ex);
	take(callbacks, MODULE_CORE, CORE_POP, (any_function)pop);
	take(callbacks, MODULE_CORE2, CORE2_PUSH_EX, (any_function)domain_push_ex);
	take(callbacks, MODULE_CORE2, CORE2_POP, (any_function)domain_pop);
	take(callbacks, MODULE_CORE2, CORE2_REGISTER_A, (any_function)register_a);
	take(callbacks, MODULE_CORE2, CORE2_REGISTER_W, (any_function)register_w);
	kv_log(KV_LOG_DEBUG, "nvtx", "ranges named %s are tags", names);
	return 1;
}
