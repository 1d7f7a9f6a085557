/* SPDX-License-Identifier: Apache-2.0 */
/* recognise.c - see recognise.h. */
#include "hooks/recognise.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/planes.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/shadow.h"

/*
 * An index array has 8 bytes per token of a batch: 256 KiB are 32768 tokens. Each decode uploads
 * half a dozen arrays, each is consumed once per plane.
 */
static const struct kv_shadows_config limits = {
	.n_shadows = 512,
	.upload_bytes = 256 << 10,
	.total_bytes = 8 << 20,
	.n_consumed = 1 << 14,
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct kv_shadows *shadows; /* guarded by mutex; made with the first upload */

/* [mutex] NULL: no memory, and nothing is ever remembered. */
static struct kv_shadows *table(void)
{
	if (!shadows && kv_shadows_new(&limits, &shadows))
		shadows = NULL;
	return shadows;
}

void kv_recognise_upload(uint64_t dst, const void *host, uint64_t length)
{
	pthread_mutex_lock(&mutex);
	if (table())
		kv_shadows_upload(shadows, dst, host, length);
	pthread_mutex_unlock(&mutex);
}

void kv_recognise_copy(uint64_t dst, uint64_t src, uint64_t length)
{
	pthread_mutex_lock(&mutex);
	if (shadows)
		kv_shadows_copy(shadows, dst, src, length);
	pthread_mutex_unlock(&mutex);
}

void kv_recognise_write(uint64_t dst, uint64_t length)
{
	pthread_mutex_lock(&mutex);
	if (shadows)
		kv_shadows_kill(shadows, dst, length);
	pthread_mutex_unlock(&mutex);
}

void kv_recognise_forget(void)
{
	pthread_mutex_lock(&mutex);
	if (shadows)
		kv_shadows_clear(shadows);
	pthread_mutex_unlock(&mutex);
}

struct kv_shadows *kv_recognise_lock(void)
{
	pthread_mutex_lock(&mutex);
	return shadows;
}

void kv_recognise_unlock(void)
{
	pthread_mutex_unlock(&mutex);
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

/* The accesses of a launch, in the reservations that they meet. */
static int touch(const struct kv_reach *reach)
{
	for (uint32_t i = 0; i < reach->n_accesses; i++) {
		const struct kv_access *a = &reach->accesses[i];
		struct kv_reservation *r = kv_core_find(kv_hooks.core, a->addr);
		uint64_t offset;
		int err;

		if (!r || kv_reservation_is_static(r))
			continue;
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
		err = kv_launch_word(kernel, word, false);
		if (err)
			return err;
	}
	return 0;
}

int kv_recognise_launch(
	const struct kv_kernel *kernel, void **params, void **extra, const struct kv_shape *shape)
{
	struct kv_launch launch = {
		.params = (const void *const *)params, .offsets = kernel->offsets};
	struct kv_reach reach;
	bool known = false;
	int err;

	if (!params)
		launch.block = kv_launch_block(extra, &launch.block_size);
	memcpy(launch.grid, shape->grid, sizeof(launch.grid));
	memcpy(launch.threads, shape->threads, sizeof(launch.threads));
	known = kernel->rule && kv_recognise_hits(kernel, &launch);
	pthread_mutex_lock(&mutex);
	if (known)
		known = !kv_rule_reach(kernel->rule, &launch, shadows, 2 << 20, &reach);
	if (shadows)
		kill_written(kernel, &launch, known ? &reach : NULL);
	pthread_mutex_unlock(&mutex);
	kv_recognise_described();
	if (known)
		kv_planes_launch(&reach);
	err = known ? touch(&reach) : 0;
	return err ? err : leak_unexplained(kernel, &launch, known ? reach.explained : 0);
}
