/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.c - finds libcuda and asks it, and nobody else, for its entry points.
 *
 * May run inside anybody's symbol look-up, so it takes no lock and allocates nothing: a lock held
 * while the loader is called deadlocks with a thread that holds the loader's lock and looks a
 * symbol up from a constructor. Threads that come at the same time do the same work and store the
 * same values.
 */
#include "hooks/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "hooks/elf_image.h"
#include "hooks/lookup.h"

static bool is_loaded(void);

/*
 * What an entry point answers that the driver does not have, and every one while there is no
 * driver. Any caller's arguments may be ignored: the caller cleans up its own stack.
 */
static CUresult entry_missing(void)
{
	return is_loaded() ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_NO_DEVICE;
}

/* clang-format off */
struct kv_real kv_real = {
#define KV_HOOK(symbol, base, pfn, group, sentence) .symbol = (pfn)(void (*)(void))entry_missing,
#define KV_REFUSE(symbol, base, pfn, group, sentence) .symbol = (pfn)(void (*)(void))entry_missing,
#define KV_NEED(symbol, base, pfn, sentence)
#define KV_PASS(symbol, sentence)
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
};

/* The names that have wrappers, in strcmp order, and where their pointers go. */
static const struct hooked {
	const char *name;
	size_t offset; /* in struct kv_real */
	void (*wrapper)(void);
} hooked[] = {
#define KV_NAME(symbol) {#symbol, offsetof(struct kv_real, symbol), (void (*)(void))symbol},
#include "hooks/names.inc"
#undef KV_NAME
};

static const struct needed {
	const char *name;
	size_t offset;
} needed[] = {
#undef KV_NEED
#define KV_HOOK(symbol, base, pfn, group, sentence)
#define KV_REFUSE(symbol, base, pfn, group, sentence)
#define KV_NEED(symbol, base, pfn, sentence) {#symbol, offsetof(struct kv_real, symbol)},
#include "hooks/hooks.def"
#undef KV_HOOK
#undef KV_REFUSE
#undef KV_NEED
#undef KV_PASS
};
/* clang-format on */

#define N_HOOKED (sizeof(hooked) / sizeof(hooked[0]))
#define N_NEEDED (sizeof(needed) / sizeof(needed[0]))

/* Pointers are stored as words; the types are those of struct kv_real. */
typedef uintptr_t __attribute__((may_alias)) word;

struct route {
	word real, wrapper;
};

/* Written by kv_real_load() only, always with the same values; read after loaded. */
static struct {
	_Atomic bool
		loaded;  /* atomic: release after all below and kv_real, acquire by every reader */
	word start, end; /* of libcuda */
	word n_routes;
	struct route routes[N_HOOKED]; /* sorted by real */
} table;

static int find_libc(struct dl_phdr_info *info, size_t size, void *ctx)
{
	const char *slash = strrchr(info->dlpi_name, '/');

	if (strcmp(slash ? slash + 1 : info->dlpi_name, "libc.so.6"))
		return 0;
	return kv_elf_image_read(info, ctx);
}

static bool is_loaded(void)
{
	return atomic_load_explicit(&table.loaded, memory_order_acquire);
}

/* A symbol of libc by its own table: our dlsym and dlvsym hide libc's from every ordinary look-up.
 */
static void *libc_symbol(const char *symbol)
{
	struct kv_elf_image libc;

	if (dl_iterate_phdr(find_libc, &libc) != 1)
		return NULL;
	return kv_elf_image_symbol(&libc, symbol);
}

kv_dlsym_fn kv_libc_dlsym(void)
{
	static _Atomic(kv_dlsym_fn) found; /* atomic: relaxed, everybody stores the same */
	kv_dlsym_fn fn = atomic_load_explicit(&found, memory_order_relaxed);

	if (!fn) {
		fn = (kv_dlsym_fn)libc_symbol("dlsym");
		atomic_store_explicit(&found, fn, memory_order_relaxed);
	}
	return fn;
}

kv_dlvsym_fn kv_libc_dlvsym(void)
{
	static _Atomic(kv_dlvsym_fn) found; /* atomic: relaxed, everybody stores the same */
	kv_dlvsym_fn fn = atomic_load_explicit(&found, memory_order_relaxed);

	if (!fn) {
		fn = (kv_dlvsym_fn)libc_symbol("dlvsym");
		atomic_store_explicit(&found, fn, memory_order_relaxed);
	}
	return fn;
}

static void store(word *target, uintptr_t value)
{
	__atomic_store_n(target, value, __ATOMIC_RELAXED);
}

/* Keeps the routes sorted by the driver's pointer; qsort() may allocate. */
static void insert_route(struct route *routes, size_t n, uintptr_t real, uintptr_t wrapper)
{
	size_t at = n;

	for (; at > 0 && routes[at - 1].real > real; at--)
		routes[at] = routes[at - 1];
	routes[at] = (struct route){.real = real, .wrapper = wrapper};
}

static int find_span(struct dl_phdr_info *info, size_t size, void *ctx)
{
	const struct link_map *map = *(struct link_map **)ctx;
	struct kv_elf_image image;

	if (info->dlpi_addr != map->l_addr || strcmp(info->dlpi_name, map->l_name) ||
		!kv_elf_image_read(info, &image))
		return 0;
	store(&table.start, image.start);
	store(&table.end, image.end);
	return 1;
}

/* Fills kv_real and the routes from libcuda's handle. */
static void load_from(void *libcuda, kv_dlsym_fn libc_dlsym)
{
	struct route routes[N_HOOKED];
	struct link_map *map = NULL;
	size_t n = 0;

	for (size_t i = 0; i < N_HOOKED; i++) {
		void *real = libc_dlsym(libcuda, hooked[i].name);

		/* never ourselves, whatever stands behind that handle */
		if (!real || real == (void *)hooked[i].wrapper)
			continue;
		store((word *)((char *)&kv_real + hooked[i].offset), (uintptr_t)real);
		insert_route(routes, n++, (uintptr_t)real, (uintptr_t)hooked[i].wrapper);
	}
	for (size_t i = 0; i < N_NEEDED; i++) {
		void *real = libc_dlsym(libcuda, needed[i].name);

		store((word *)((char *)&kv_real + needed[i].offset), (uintptr_t)real);
	}
	for (size_t i = 0; i < n; i++) {
		store(&table.routes[i].real, routes[i].real);
		store(&table.routes[i].wrapper, routes[i].wrapper);
	}
	store(&table.n_routes, n);
	if (dlinfo(libcuda, RTLD_DI_LINKMAP, &map) == 0)
		dl_iterate_phdr(find_span, &map);
}

static int load(int extra_flags)
{
	kv_dlsym_fn libc_dlsym;
	void *libcuda;

	if (is_loaded())
		return 0;
	libc_dlsym = kv_libc_dlsym();
	libcuda = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL | extra_flags);
	if (!libc_dlsym || !libcuda)
		return -ENOENT;
	/* The handle is kept for good: code addresses in it are ours to call from now on. */
	load_from(libcuda, libc_dlsym);
	atomic_store_explicit(&table.loaded, true, memory_order_release);
	return 0;
}

int kv_real_load(void)
{
	return load(RTLD_NOLOAD) == 0 ? 0 : load(0);
}

int kv_real_load_if_present(void)
{
	return load(RTLD_NOLOAD);
}

void *kv_route(void *pointer)
{
	uintptr_t real = (uintptr_t)pointer;
	size_t low = 0, high;

	if (!is_loaded())
		return pointer;
	high = table.n_routes;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (table.routes[middle].real == real)
			return (void *)table.routes[middle].wrapper;
		if (table.routes[middle].real < real)
			low = middle + 1;
		else
			high = middle;
	}
	return pointer;
}

bool kv_hooked_name(const char *name, void **ret_wrapper)
{
	size_t low = 0, high = N_HOOKED;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(name, hooked[middle].name);

		if (order == 0) {
			*ret_wrapper = (void *)hooked[middle].wrapper;
			return true;
		}
		if (order > 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool kv_real_contains(const void *address)
{
	if (!is_loaded())
		return false;
	return (uintptr_t)address >= table.start && (uintptr_t)address < table.end;
}
