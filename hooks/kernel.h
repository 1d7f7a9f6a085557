/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - from a function handle to what is known about the kernel.
 *
 * The hash table is here so that a launch finds a kernel that it has met before without a call.
 * Readers take no lock; how the table is written is in kernel.c.
 */
#ifndef KV_HOOKS_KERNEL_H
#define KV_HOOKS_KERNEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kv_rule;

/*
 * Eight bytes that may be an address: a parameter whose size is a multiple of eight has one such
 * word, or several if it is a struct by value.
 */
struct kv_kernel_word {
	uint32_t param; /* ordinal */
	uint32_t at;    /* bytes from the start of the parameter */
};

/* The launch path looks at so many parameters at a time. */
#define KV_KERNEL_STEP 4u

/* What is known about one function handle (CUfunction or CUkernel). Immutable, lives as long as the
 * process. */
struct kv_kernel {
	const void *handle;
	/* Ordinals of the parameters that begin with a word; the last one is repeated until their
	 * number is a multiple of KV_KERNEL_STEP. */
	const uint32_t *heads, *heads_end;
	const struct kv_kernel_word *words; /* all of them */
	uint32_t n_words;
	bool layout_known; /* false: nothing can be proven about its launches */
	bool transient;    /* named by config.transient_kernels */
	bool simple;       /* the layout is known, and heads name all words, at least one */
	bool uses_index;   /* its rule asks for index arrays */
	uint64_t reads;    /* bit i: parameter i is a pointer to const; only with keep_copies */
	uint32_t n_params;
	uint32_t params_size;       /* bytes of the packed parameter block */
	const uint32_t *offsets;    /* n_params, bytes */
	const uint32_t *sizes;      /* n_params, bytes */
	const char *name;           /* mangled; "?" if the driver cannot tell */
	const struct kv_rule *rule; /* NULL: not recognised */
	/* For the log and the statistics: the name; of a known family that is not understood,
	 * which one. */
	const char *by;
};

/* True if the kernel reads only through this word, by the type of its parameter. */
static inline bool kv_kernel_reads(const struct kv_kernel *kernel, const struct kv_kernel_word *w)
{
	return w->param < 64 && kernel->reads >> w->param & 1;
}

struct kv_kernel_table {
	uint32_t mask; /* slots - 1; a power of two; immutable */
	uint32_t used; /* guarded by the mutex in kernel.c; at most half of the slots */
	_Atomic(const struct kv_kernel *)
		slots[]; /* atomic: release on insert, acquire in kv_kernel_seen() */
};

/* Never NULL. atomic: release on replacement, acquire in kv_kernel_seen() */
extern _Atomic(struct kv_kernel_table *) kv_kernels __attribute__((visibility("hidden")));

static inline uint32_t kv_kernel_hash(const void *handle)
{
	return ((uintptr_t)handle >> 4) * 0x9e3779b97f4a7c15ull >> 32;
}

/* [hot] The record of this handle in this table, or NULL. */
static inline const struct kv_kernel *kv_kernel_in(
	const struct kv_kernel_table *table, const void *handle)
{
	const struct kv_kernel *kernel;
	uint32_t i = kv_kernel_hash(handle);

	do
		kernel = atomic_load_explicit(
			&table->slots[i++ & table->mask], memory_order_acquire);
	while (__builtin_expect(kernel && kernel->handle != handle, 0));
	return kernel;
}

/* [hot] The record of a function that was met before, else NULL. */
static inline const struct kv_kernel *kv_kernel_seen(const void *function)
{
	return kv_kernel_in(atomic_load_explicit(&kv_kernels, memory_order_acquire), function);
}

/*
 * The record of a function; made on first sight (asks the driver, or the image that it was loaded
 * from; between kv_own_begin/end, without a lock). Never NULL: on any failure a static record with
 * layout_known false.
 */
const struct kv_kernel *kv_kernel_of(const void *function);

/*
 * A module, a library or a context is about to go: its function handles may be reused. Forgets all
 * of them: finding out again costs a few driver calls each, a wrong record costs the guarantee.
 * Must be called before the driver call that frees the handles.
 */
void kv_kernel_forget(void);

#endif
