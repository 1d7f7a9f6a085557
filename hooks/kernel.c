/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c - from a function handle to what is known about it.
 *
 * Readers probe a hash table without a lock and never wait. A full table is replaced by a larger
 * copy; the old one stays allocated, since a reader may be in it (all of them together are smaller
 * than the newest). Records are kept for good and found again when a forgotten handle turns up with
 * the same name and layout, so memory is bounded by the kernels of the program, not by how often it
 * loads them.
 */
#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/kernel.h"
#include "hooks/module.h"
#include "hooks/rules/rules.h"
#include "hooks/rules/signature.h"

#define TABLE_START 256u
#define RECORD_BUCKETS 512u
/* As much as the statistics show. */
#define BY_MAX KV_STATS_NAME_MAX

/* Its offsets, sizes, heads, words and name follow in the same block. */
struct record {
	struct kv_kernel kernel;
	struct record *next; /* in its bucket; guarded by mutex */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* leaf */
/* Has no room, so that it is replaced before anything is put into it. */
static struct kv_kernel_table no_kernels = {.slots = {NULL}};
_Atomic(struct kv_kernel_table *) kv_kernels = &no_kernels;
static _Atomic uint32_t generation; /* atomic: acq_rel; how often everything was forgotten */
static struct record *records[RECORD_BUCKETS]; /* guarded by mutex */

static const struct kv_kernel unknown = {.name = "?", .by = "?"};

/* ---- making a record ---- */

static bool is_transient(const char *name)
{
	const char *list = kv_hooks.config.transient_kernels;
	char glob[256];

	while (list && *list) {
		size_t length = strcspn(list, ",");

		if (length && length < sizeof(glob)) {
			memcpy(glob, list, length);
			glob[length] = '\0';
			if (!fnmatch(glob, name, 0))
				return true;
		}
		list += length + (list[length] == ',');
	}
	return false;
}

/*
 * Parameters that can hold no address, whatever their bits look like, have none: what contains a
 * pointer has its alignment, so that its size is a multiple of eight. tails: kv_rule_tails(). words
 * may be NULL, to count.
 */
static uint32_t list_words(
	const struct kv_layout *layout, uint64_t tails, struct kv_kernel_word *words)
{
	uint32_t n = 0;

	for (uint32_t i = 0; layout && i < layout->n_params; i++) {
		uint32_t size = layout->params[i].size;

		if (size > 8 && size % 8 == 0 && i < 64 && tails >> i & 1)
			size -= 8;
		for (uint32_t at = 0; size % 8 == 0 && at < size; at += 8, n++)
			if (words)
				words[n] = (struct kv_kernel_word){i, at};
	}
	return n;
}

/* Families that the operator has been told about, by their number in the set. atomic: relaxed */
static _Atomic uint64_t families_told[4];

static void tell_family(const char *family)
{
	uint32_t n = kv_ruleset_families(kv_hooks.config.rules), variants = 0;

	for (uint32_t i = 0; i < n && i < 256; i++) {
		uint64_t bit = 1ull << i % 64;

		if (kv_ruleset_family(kv_hooks.config.rules, i, &variants) != family || !variants)
			continue;
		if (!(atomic_fetch_or_explicit(&families_told[i / 64], bit, memory_order_relaxed) &
			    bit))
			kv_hooks_log(1, "rules",
				"family %s, unknown parameter list: what such kernels point at is "
				"static memory (see kvshim doctor --rules)",
				family);
	}
}

/*
 * Which rule it has. A kernel of a known family with a list of parameters that no variant has is an
 * unknown kernel: the operator is told, since an engine has probably changed. by: room for BY_MAX.
 */
static void bind_rule(struct kv_kernel *kernel, char *by)
{
	const char *family = NULL;
	struct kv_rule *rule;
	int err = kv_rule_match(kv_hooks.config.rules, kernel->name, kernel->n_params,
		kernel->sizes, &rule, &family);

	if (!err) {
		kernel->rule = rule;
		kernel->uses_index = kv_rule_uses_index(rule);
		if (kv_rule_keeps(rule)) {
			snprintf(by, BY_MAX, "%s leaves addresses in memory", kv_rule_family(rule));
			kernel->by = by;
		}
	} else if (err == -ENOTSUP && family) {
		snprintf(by, BY_MAX, "family %s, unknown parameter list: %s", family, kernel->name);
		kernel->by = by;
		tell_family(family);
	}
}

/*
 * The parameters that are pointers to const, as the mangled name says: nothing else does. A name
 * that cannot be taken apart, or has another number of parameters than the kernel, says nothing. Of
 * structs by value rules know what they point at: tails, see kv_rule_tails().
 */
static uint64_t list_reads(const char *name, const struct kv_layout *layout, uint64_t tails)
{
	static const char suffix[] = " const*";
	struct kv_signature s;
	uint64_t reads = tails;

	if (kv_signature_parse(name, &s))
		return reads;
	for (uint32_t i = 0; s.n_params == layout->n_params && i < s.n_params && i < 64; i++) {
		struct kv_text type = s.params[i];
		size_t length = sizeof(suffix) - 1;

		if (layout->params[i].size == 8 && type.length > length &&
			!memcmp(type.at + type.length - length, suffix, length))
			reads |= 1ull << i;
	}
	kv_signature_free(&s);
	return reads;
}

/* layout NULL: unknown. NULL: no memory. */
static struct record *record_new(
	const void *handle, const char *name, const struct kv_layout *layout)
{
	uint32_t n = layout ? layout->n_params : 0;
	uint64_t tails = kv_hooks.config.rules ? kv_rule_tails(kv_hooks.config.rules, name, n) : 0;
	uint32_t n_words = list_words(layout, tails, NULL);
	uint32_t heads_max = n + KV_KERNEL_STEP, n_heads = 0;
	struct record *record =
		malloc(sizeof(*record) + (2 * n + heads_max) * sizeof(uint32_t) +
			n_words * sizeof(struct kv_kernel_word) + strlen(name) + 1 + BY_MAX);
	struct kv_kernel_word *words;
	bool simple;
	uint32_t *offsets, *sizes, *heads;

	if (!record)
		return NULL;
	offsets = (uint32_t *)(record + 1);
	sizes = offsets + n;
	heads = sizes + n;
	words = (struct kv_kernel_word *)(heads + heads_max);
	list_words(layout, tails, words);
	for (uint32_t i = 0; i < n_words; i++)
		if (!words[i].at)
			heads[n_heads++] = words[i].param;
	simple = n_heads && n_heads == n_words;
	/* Looking at a word twice is cheaper than counting on the launch path. */
	for (; n_heads % KV_KERNEL_STEP; n_heads++)
		heads[n_heads] = heads[n_heads - 1];
	record->next = NULL;
	record->kernel = (struct kv_kernel){
		.handle = handle,
		.name = strcpy((char *)(words + n_words), name),
		.n_params = n,
		.params_size = layout ? layout->params_size : 0,
		.offsets = offsets,
		.sizes = sizes,
		.n_words = n_words,
		.words = words,
		.heads = heads,
		.heads_end = heads + n_heads,
		.simple = simple,
		.layout_known = layout,
		.transient = is_transient(name),
	};
	for (uint32_t i = 0; i < n; i++) {
		offsets[i] = layout->params[i].offset;
		sizes[i] = layout->params[i].size;
	}
	record->kernel.by = record->kernel.name;
	if (kv_hooks.config.core.keep_copies && layout)
		record->kernel.reads = list_reads(name, layout, tails);
	if (kv_hooks.config.rules && layout)
		bind_rule(&record->kernel, (char *)(words + n_words) + strlen(name) + 1);
	return record;
}

static bool same_record(const struct kv_kernel *a, const struct kv_kernel *b)
{
	return a->handle == b->handle && a->layout_known == b->layout_known &&
	       a->n_params == b->n_params && a->params_size == b->params_size &&
	       !memcmp(a->offsets, b->offsets, a->n_params * sizeof(*a->offsets)) &&
	       !memcmp(a->sizes, b->sizes, a->n_params * sizeof(*a->sizes)) &&
	       !strcmp(a->name, b->name);
}

/* How the driver answers about functions, and about kernels, which are given to launches just as
 * well. */
static CUresult function_param(const void *f, size_t i, size_t *offset, size_t *size)
{
	return KV_REAL(cuFuncGetParamInfo)((CUfunction)f, i, offset, size);
}

static CUresult kernel_param(const void *k, size_t i, size_t *offset, size_t *size)
{
	return KV_REAL(cuKernelGetParamInfo)((CUkernel)k, i, offset, size);
}

/* The list ends with CUDA_ERROR_INVALID_VALUE; every other error means that it is not known. */
static int ask_params(CUresult (*ask)(const void *, size_t, size_t *, size_t *), const void *handle,
	struct kv_layout **ret_layout)
{
	struct kv_layout *layout = calloc(1, sizeof(*layout)), *grown;
	size_t room = 0, offset, size;
	CUresult res;

	if (!layout)
		return -ENOMEM;
	while ((res = ask(handle, layout->n_params, &offset, &size)) == CUDA_SUCCESS) {
		if (layout->n_params >= KV_LAYOUT_PARAMS_MAX || offset > KV_LAYOUT_BYTES_MAX ||
			size > KV_LAYOUT_BYTES_MAX)
			goto free_layout;
		if (layout->n_params == room) {
			room = room ? 2 * room : 16;
			grown = realloc(layout, sizeof(*layout) + room * sizeof(layout->params[0]));
			if (!grown)
				goto free_layout;
			layout = grown;
		}
		layout->params[layout->n_params].offset = offset;
		layout->params[layout->n_params].size = size;
		layout->n_params++;
		if (offset + size > layout->params_size)
			layout->params_size = offset + size;
	}
	if (res != CUDA_ERROR_INVALID_VALUE)
		goto free_layout;
	*ret_layout = layout;
	return 0;

free_layout:
	free(layout);
	return -ENOENT;
}

/*
 * A handle may be a CUfunction or a CUkernel; whichever family of calls knows its name is asked. An
 * empty list is believed only if the other family has none either: a driver that answers "invalid
 * value" for a handle of the other kind must not make us think that there is nothing to see.
 */
static void ask_driver(const void *handle, const char **ret_name, struct kv_layout **ret_layout)
{
	bool is_function = KV_REAL(cuFuncGetName)(ret_name, (CUfunction)handle) == CUDA_SUCCESS;
	struct kv_layout *layout = NULL, *other = NULL;
	bool is_kernel = !is_function &&
			 KV_REAL(cuKernelGetName)(ret_name, (CUkernel)handle) == CUDA_SUCCESS;

	if (!is_function && !is_kernel)
		*ret_name = NULL;
	if (kv_images_wanted())
		return;
	if (ask_params(is_kernel ? kernel_param : function_param, handle, &layout))
		layout = NULL;
	if (!layout || !layout->n_params) {
		if (!ask_params(is_kernel ? function_param : kernel_param, handle, &other) &&
			(!layout || other->n_params)) {
			free(layout);
			layout = other;
			other = NULL;
		}
		free(other);
	}
	/* Neither family knows the handle: an empty answer proves nothing. */
	if (layout && !layout->n_params && !*ret_name) {
		free(layout);
		layout = NULL;
	}
	*ret_layout = layout;
}

static struct record *record_make(const void *handle)
{
	struct kv_layout *layout = NULL;
	const char *driver_name = NULL;
	char *image_name = NULL;
	struct kv_own_call own;
	struct record *record;

	kv_own_begin(&own);
	ask_driver(handle, &driver_name, &layout);
	if (kv_images_wanted() && kv_module_layout(handle, driver_name, &image_name, &layout))
		layout = NULL;
	record = record_new(handle,
		driver_name  ? driver_name
		: image_name ? image_name
			     : "?",
		layout);
	kv_own_end(&own);
	free(image_name);
	free(layout);
	return record;
}

/* ---- publishing ---- */

/* [mutex] Room for one more; a new table if needed. NULL: no memory. */
static struct kv_kernel_table *table_with_room(void)
{
	struct kv_kernel_table *old = atomic_load_explicit(&kv_kernels, memory_order_relaxed),
			       *table;
	uint32_t n;

	if (old->used < (old->mask + 1) / 2)
		return old;
	n = old == &no_kernels ? TABLE_START : 2 * (old->mask + 1);
	table = calloc(1, sizeof(*table) + n * sizeof(table->slots[0]));
	if (!table)
		return NULL;
	table->mask = n - 1;
	for (uint32_t i = 0; i <= old->mask; i++) {
		const struct kv_kernel *kernel =
			atomic_load_explicit(&old->slots[i], memory_order_relaxed);
		uint32_t at;

		if (!kernel)
			continue;
		for (at = kv_kernel_hash(kernel->handle); table->slots[at & table->mask]; at++)
			;
		atomic_init(&table->slots[at & table->mask], kernel);
		table->used++;
	}
	/* release: partner is the load in kv_kernel_seen(). The old table stays: readers may be in
	 * it. */
	atomic_store_explicit(&kv_kernels, table, memory_order_release);
	return table;
}

/* [mutex] The kept record that equals this one, or this one, kept from now on. */
static const struct kv_kernel *record_keep(struct record *record)
{
	struct record **bucket = &records[kv_kernel_hash(record->kernel.handle) % RECORD_BUCKETS];

	for (struct record *r = *bucket; r; r = r->next) {
		if (same_record(&r->kernel, &record->kernel)) {
			kv_rule_free((struct kv_rule *)record->kernel.rule);
			free(record);
			return &r->kernel;
		}
	}
	record->next = *bucket;
	*bucket = record;
	return &record->kernel;
}

static __attribute__((noinline)) const struct kv_kernel *make(const void *handle)
{
	uint32_t before = atomic_load_explicit(&generation, memory_order_acquire);
	struct record *record = record_make(handle);
	const struct kv_kernel *kernel, *found = NULL;
	struct kv_kernel_table *table;

	if (!record)
		return &unknown;
	pthread_mutex_lock(&mutex);
	kernel = record_keep(record);
	table = table_with_room();
	if (table)
		found = kv_kernel_in(table, handle);
	/* Forgotten while we asked, or no memory: good for this launch only. */
	if (table && !found && before == atomic_load_explicit(&generation, memory_order_relaxed)) {
		uint32_t at = kv_kernel_hash(handle);

		while (atomic_load_explicit(&table->slots[at & table->mask], memory_order_relaxed))
			at++;
		/* release: partner is the load in kv_kernel_in(). */
		atomic_store_explicit(
			&table->slots[at & table->mask], kernel, memory_order_release);
		table->used++;
	}
	pthread_mutex_unlock(&mutex);
	return found ? found : kernel;
}

const struct kv_kernel *kv_kernel_of(const void *function)
{
	const struct kv_kernel *kernel = kv_kernel_seen(function);

	return kv_likely(kernel) ? kernel : make(function);
}

void kv_kernel_forget(void)
{
	struct kv_kernel_table *table;

	pthread_mutex_lock(&mutex);
	atomic_fetch_add_explicit(&generation, 1, memory_order_acq_rel);
	table = atomic_load_explicit(&kv_kernels, memory_order_relaxed);
	/* In place: a reader that meets a hole too early asks again, which is slow and right. */
	for (uint32_t i = 0; i <= table->mask; i++)
		atomic_store_explicit(&table->slots[i], NULL, memory_order_relaxed);
	table->used = 0;
	pthread_mutex_unlock(&mutex);
}
