/* SPDX-License-Identifier: Apache-2.0 */
/* recognise.c - see recognise.h. */
#include "hooks/recognise.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/graph_steady.h"
#include "hooks/planes.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/shadow.h"

/*
 * An index array has 8 bytes per token of a batch: 256 KiB are 32768 tokens. Each decode uploads
 * half a dozen arrays, each is consumed once per plane.
 */
/* Of a range that a launch writes, so many bytes are looked at grain by grain; where more are
 * written, the shadows are asked. */
#define SWEEP_MAX (64u << 10)

_Atomic uint8_t kv_recognise_marks[KV_SHADOW_MARKS];
struct kv_quick kv_recognise_quick;

static const struct kv_shadows_config limits = {
	.marks = kv_recognise_marks,
	.quick = &kv_recognise_quick,
	.n_shadows = 512,
	.upload_bytes = 256 << 10,
	.total_bytes = 8 << 20,
	.n_consumed = 1 << 14,
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kv_shadows *shadows; /* guarded by mutex; made with the first upload */

static void lock(void)
{
	struct kv_steady *claimed;

	pthread_mutex_lock(&mutex);
	claimed = kv_quick_close(&kv_recognise_quick);
	if (claimed)
		kv_steady_settle(claimed, shadows);
}

static void unlock(void)
{
	kv_quick_open(&kv_recognise_quick);
	pthread_mutex_unlock(&mutex);
}

/* [mutex] NULL: no memory, and nothing is ever remembered. */
static struct kv_shadows *table(void)
{
	struct kv_shadows_config config = limits;

	config.near = &kv_core_grains(kv_hooks.core)[KV_GRAINS_NEAR];
	if (!shadows && kv_shadows_new(&config, &shadows))
		shadows = NULL;
	return shadows;
}

void kv_recognise_upload(uint64_t dst, const void *host, uint64_t length)
{
	lock();
	if (table())
		kv_shadows_upload(shadows, dst, host, length);
	unlock();
}

void kv_recognise_copy(uint64_t dst, uint64_t src, uint64_t length)
{
	lock();
	if (shadows)
		kv_shadows_copy(shadows, dst, src, length);
	unlock();
}

void kv_recognise_write(uint64_t dst, uint64_t length)
{
	lock();
	if (shadows)
		kv_shadows_kill(shadows, dst, length);
	unlock();
}

void kv_recognise_forget(void)
{
	lock();
	if (shadows)
		kv_shadows_clear(shadows);
	unlock();
}

struct kv_shadows *kv_recognise_lock(void)
{
	lock();
	return shadows;
}

void kv_recognise_unlock(void)
{
	unlock();
}

/* ---- launches ---- */

bool kv_recognise_word(
	const struct kv_launch *launch, const struct kv_kernel_word *w, uint64_t *ret_word)
{
	const uint8_t *at = NULL;

	if (launch->params) {
		at = launch->params[w->param];
		at = at ? at + w->at : NULL;
	} else if (launch->block) {
		uint64_t offset = (uint64_t)launch->offsets[w->param] + w->at;

		at = offset + 8 <= launch->block_size ? launch->block + offset : NULL;
	}
	if (!at)
		return false;
	memcpy(ret_word, at, sizeof(*ret_word));
	return true;
}

bool kv_recognise_hits(const struct kv_kernel *kernel, const struct kv_launch *launch)
{
	struct kv_reservation *r;
	uint64_t word;

	for (uint32_t i = 0; i < kernel->n_words; i++)
		if (kv_recognise_word(launch, &kernel->words[i], &word) &&
			kv_core_hits(kv_hooks.core, word, &r))
			return true;
	return false;
}

/*
 * What goes over a whole plane to leave nothing behind (a K-shift) does so plane by plane. What the
 * last one got goes before the next one gets it, so that the device need hold one at a time.
 * Nothing of this launch has been touched yet.
 */
static void make_way(const struct kv_reach *reach)
{
	for (uint32_t i = 0; i < reach->n_accesses; i++) {
		const struct kv_access *a = &reach->accesses[i];
		struct kv_reservation *r;

		if (a->kind != KV_ACCESS_WHOLE || !a->dead)
			continue;
		r = kv_core_find(kv_hooks.core, a->addr);
		if (!r || kv_reservation_is_static(r) ||
			!kv_space_is_marked(kv_reservation_space(r)))
			continue;
		kv_submit_reap(kv_reservation_space(r));
		return;
	}
}

/* The accesses of a launch, in the reservations that they meet. */
static int touch(const struct kv_kernel *kernel, const struct kv_reach *reach)
{
	for (uint32_t i = 0; i < reach->n_accesses; i++) {
		const struct kv_access *a = &reach->accesses[i];
		struct kv_reservation *r = kv_core_find(kv_hooks.core, a->addr);
		uint64_t offset;
		int err;

		/* What is static is whole before this submission; what is written of it is for
		 * those who keep copies to know. */
		if (!r || (kv_reservation_is_static(r) &&
				  (a->kind == KV_ACCESS_READ || kv_reservation_is_whole(r))))
			continue;
		kv_reservation_ruled(r, kv_rule_family(kernel->rule));
		offset = a->addr - kv_reservation_base(r);
		if (a->kind == KV_ACCESS_WHOLE)
			err = kv_touch_transient(r, offset, a->length, a->dead);
		else
			err = kv_touch(r, offset, a->length);
		if (err)
			return err;
	}
	return 0;
}

/* [mutex] What the launch may write over is no shadow any more. reach NULL: nothing is explained.
 */
static void kill_written(const struct kv_kernel *kernel, const struct kv_launch *launch,
	const struct kv_reach *reach)
{
	uint64_t word;

	for (uint32_t i = 0; reach && i < reach->n_accesses; i++)
		if (reach->accesses[i].kind != KV_ACCESS_READ)
			kv_shadows_kill(
				shadows, reach->accesses[i].addr, reach->accesses[i].length);
	for (uint32_t i = 0; i < kernel->n_words; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];

		if (reach && w->param < KV_RULE_PARAMS && reach->explained >> w->param & 1)
			continue;
		if (kv_recognise_word(launch, w, &word))
			kv_shadows_point(shadows, word);
	}
}

/* What the rule does not explain is an unknown kernel's. */
static int leak_unexplained(
	const struct kv_kernel *kernel, const struct kv_launch *launch, uint64_t explained)
{
	uint64_t word;
	int err;

	for (uint32_t i = 0; i < kernel->n_words; i++) {
		const struct kv_kernel_word *w = &kernel->words[i];

		if ((w->param < KV_RULE_PARAMS && explained >> w->param & 1) ||
			!kv_recognise_word(launch, w, &word))
			continue;
		err = kv_launch_word(kernel, w, word, false);
		if (err)
			return err;
	}
	return 0;
}

/* Could a shadow die by this launch? reach NULL: nothing is explained. */
static bool is_at_risk(const struct kv_kernel *kernel, const struct kv_launch *launch,
	const struct kv_reach *reach)
{
	uint64_t word;

	for (uint32_t i = 0; i < kernel->n_words; i++)
		if (kv_recognise_word(launch, &kernel->words[i], &word) &&
			kv_shadow_mark(kv_recognise_marks, word))
			return true;
	for (uint32_t i = 0; reach && i < reach->n_accesses; i++) {
		const struct kv_access *a = &reach->accesses[i];
		uint64_t grain = 1 << KV_SHADOW_GRAIN_BITS;

		if (a->kind == KV_ACCESS_READ)
			continue;
		if (a->length > SWEEP_MAX)
			return true;
		for (uint64_t at = 0; at < a->length + grain; at += grain)
			if (kv_shadow_mark(kv_recognise_marks, a->addr + at))
				return true;
	}
	return false;
}

/* What the launch reaches by its rule, and which shadows it leaves. True: *ret_reach is set. */
static bool understand(
	const struct kv_kernel *kernel, const struct kv_launch *launch, struct kv_reach *ret_reach)
{
	bool known = kernel->rule && kv_recognise_hits(kernel, launch), locked;

	locked = known && kernel->uses_index;
	if (locked)
		lock();
	if (known)
		known = !kv_rule_reach(
			kernel->rule, launch, locked ? shadows : NULL, 2 << 20, ret_reach);
	if (!locked && is_at_risk(kernel, launch, known ? ret_reach : NULL)) {
		locked = true;
		lock();
	}
	if (locked && shadows)
		kill_written(kernel, launch, known ? ret_reach : NULL);
	if (locked)
		unlock();
	return known;
}

int kv_recognise_launch(
	const struct kv_kernel *kernel, void **params, void **extra, const struct kv_shape *shape)
{
	struct kv_launch launch = {
		.params = (const void *const *)params, .offsets = kernel->offsets};
	struct kv_reach reach;
	bool known;
	int err;

	if (!params)
		launch.block = kv_launch_block(extra, &launch.block_size);
	memcpy(launch.grid, shape->grid, sizeof(launch.grid));
	memcpy(launch.threads, shape->threads, sizeof(launch.threads));
	known = understand(kernel, &launch, &reach);
	kv_recognise_described();
	if (known) {
		make_way(&reach);
		kv_planes_launch(&reach);
	}
	err = known ? touch(kernel, &reach) : 0;
	return err ? err : leak_unexplained(kernel, &launch, known ? reach.explained : 0);
}
