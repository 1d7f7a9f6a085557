/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lookup.c - the second and third way in: dlsym, dlvsym and cuGetProcAddress.
 *
 * The rule is the same everywhere: ask the real one first with the caller's own arguments; if it
 * answered with the driver's entry point of a hooked name, answer with our wrapper; else with what
 * it said. That keeps versions, flags, errors and other preloaded hookers as they are.
 *
 * Two things make dlsym harder. Real answers depend on who asks (RTLD_NEXT, RTLD_DEFAULT), and
 * asking from here would make that us: such a call is left to the real one by a jump, unless its
 * answer can be told beforehand. And our own exports are in the global scope: where the real
 * look-up would find nothing but them there is no driver, and the answer is no.
 *
 * Everything here may run before main, inside an allocator, under the loader's lock: no allocation,
 * no lock, no stdio, no set-up.
 */
#include "hooks/lookup.h"

#include <dlfcn.h>
#include <link.h>
#include <stdatomic.h>

#include "hooks/elf_image.h"
#include "hooks/real.h"

/* What the entry stubs do next: jump there with the caller's arguments, or if NULL return answer.
 */
struct kv_pick {
	void *answer;
	void *jump;
};

struct kv_pick kv_pick_dlsym(void *handle, const char *symbol, void *caller);
struct kv_pick kv_pick_dlvsym(void *handle, const char *symbol, const char *version, void *caller);

/* > 0: a look-up of ours is under way in this thread: what comes through here is the loader or the
 * next hooker */
static __thread unsigned int lookup_depth __attribute__((tls_model("initial-exec")));

/* One question, as the caller put it. */
struct question {
	const char *symbol;
	const char *version; /* NULL: asked by dlsym */
	void *wrapper;
	void *caller;
};

/* The next dlsym after ours: another hooker's or libc's. */
static kv_dlsym_fn next_dlsym(void)
{
	static _Atomic(kv_dlsym_fn) next; /* atomic: relaxed, everybody stores the same */
	kv_dlsym_fn fn = atomic_load_explicit(&next, memory_order_relaxed);

	if (!fn && kv_libc_dlsym()) {
		/* By libc's dlsym without a version: finds hookers behind us, with versions or
		 * without. */
		fn = (kv_dlsym_fn)kv_libc_dlsym()(RTLD_NEXT, "dlsym");
		fn = fn ? fn : kv_libc_dlsym();
		atomic_store_explicit(&next, fn, memory_order_relaxed);
	}
	return fn;
}

static kv_dlvsym_fn next_dlvsym(void)
{
	static _Atomic(kv_dlvsym_fn) next; /* atomic: relaxed, everybody stores the same */
	kv_dlvsym_fn fn = atomic_load_explicit(&next, memory_order_relaxed);

	if (!fn && kv_libc_dlsym()) {
		fn = (kv_dlvsym_fn)kv_libc_dlsym()(RTLD_NEXT, "dlvsym");
		fn = fn ? fn : kv_libc_dlvsym();
		atomic_store_explicit(&next, fn, memory_order_relaxed);
	}
	return fn;
}

/* Asks the next one on; RTLD_NEXT and RTLD_DEFAULT then mean us. Sets dlerror() as usual. */
static void *ask(const struct question *q, void *handle)
{
	if (q->version)
		return next_dlvsym()(handle, q->symbol, q->version);
	return next_dlsym()(handle, q->symbol);
}

static struct link_map *map_of(const void *address)
{
	struct link_map *map = NULL;
	Dl_info info;

	return dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) ? map : NULL;
}

static void *routed(void *real)
{
	kv_real_load_if_present();
	return kv_route(real);
}

static struct kv_pick answer(void *value)
{
	return (struct kv_pick){.answer = value};
}

/*
 * What the caller's own dependencies have, beside the global scope: what a library sees that was
 * opened locally and is linked with libcuda. Through a handle of its own, as only that has a scope.
 */
static void *ask_caller(const struct question *q)
{
	struct link_map *map = map_of(q->caller);
	void *handle, *found = NULL;

	if (!map || !map->l_name[0])
		return NULL; /* the program itself sees the global scope only */
	handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
	if (handle) {
		found = ask(q, handle);
		dlclose(handle);
	}
	return found == q->wrapper ? NULL : found;
}

/* The answer is our own export, found in the global scope. It stands only if there is a driver
 * behind it; NULL otherwise, and dlerror() says so. */
static struct kv_pick own_export(const struct question *q)
{
	return answer(ask(q, RTLD_NEXT) ? q->wrapper : NULL);
}

static struct kv_pick pick_handle(const struct question *q, void *handle)
{
	void *real = ask(q, handle);

	if (!real)
		return answer(NULL);
	if (real != q->wrapper)
		return answer(routed(real));
	if (handle == map_of((void *)pick_handle))
		return answer(real); /* asked for by our own handle */
	return own_export(q);
}

static struct kv_pick pick_default(const struct question *q)
{
	void *real = ask(q, RTLD_DEFAULT);

	if (real == q->wrapper)
		return ask_caller(q) ? answer(q->wrapper) : own_export(q);
	if (real)
		return answer(routed(real));
	/* The global scope has nothing, not even us: we were not preloaded. */
	return answer(routed(ask_caller(q)));
}

/* Where things stand in the loader's list of objects, which for what was there at the start is the
 * order of the global scope. 0: not seen. */
struct places {
	const struct question *q;
	const void *behind;
	int n;
	int caller, own, driver; /* driver: what contains behind */
	int definer;             /* first after the caller that defines the symbol, us left out */
};

static int find_places(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct places *places = ctx;
	struct kv_elf_image image;

	places->n++;
	if (!kv_elf_image_read(info, &image))
		return 0;
	if (kv_elf_image_contains(&image, (const void *)find_places))
		places->own = places->n;
	else if (places->caller && !places->definer &&
		 kv_elf_image_symbol(&image, places->q->symbol))
		places->definer = places->n;
	if (places->behind && kv_elf_image_contains(&image, places->behind))
		places->driver = places->n;
	if (kv_elf_image_contains(&image, places->q->caller))
		places->caller = places->n;
	return 0;
}

/*
 * RTLD_NEXT. Nobody can ask the loader in another's name, so the real one gets the call by a jump,
 * except where its answer is certain and not the right one: our own export with no driver behind
 * it, or the driver's entry point, found by a caller behind us in the global scope.
 */
static struct kv_pick pick_next(const struct question *q, struct kv_pick jump)
{
	struct places places = {.q = q, .behind = ask(q, RTLD_NEXT)};

	dl_iterate_phdr(find_places, &places);
	if (!places.own || !places.caller || places.caller == places.own)
		return jump;
	if (places.caller < places.own) {
		if (places.behind || (places.definer && places.definer < places.own))
			return jump;
		return answer(ask(q, RTLD_NEXT)); /* NULL, and dlerror() says so */
	}
	kv_real_load_if_present();
	if (!kv_real_contains(places.behind) || places.definer != places.driver)
		return jump;
	return answer(routed((void *)places.behind));
}

/* "cu" and an upper-case letter; cublas, cudnn, cufft, cupti and the runtime have none. */
static bool looks_like_driver(const char *symbol)
{
	return symbol && symbol[0] == 'c' && symbol[1] == 'u' && symbol[2] >= 'A' &&
	       symbol[2] <= 'Z';
}

static struct kv_pick pick(void *handle, struct question *q, struct kv_pick jump)
{
	struct kv_pick result;

	if (!looks_like_driver(q->symbol) || lookup_depth > 0 || !jump.jump ||
		!kv_hooked_name(q->symbol, &q->wrapper))
		return jump;
	/* The driver looks itself up as well. */
	if (kv_real_contains(q->caller))
		return jump;
	lookup_depth++;
	if (handle == RTLD_NEXT)
		result = pick_next(q, jump);
	else if (handle == RTLD_DEFAULT)
		result = pick_default(q);
	else
		result = pick_handle(q, handle);
	lookup_depth--;
	return result;
}

struct kv_pick kv_pick_dlsym(void *handle, const char *symbol, void *caller)
{
	struct question q = {.symbol = symbol, .caller = caller};

	return pick(handle, &q, (struct kv_pick){.jump = (void *)next_dlsym()});
}

struct kv_pick kv_pick_dlvsym(void *handle, const char *symbol, const char *version, void *caller)
{
	struct question q = {.symbol = symbol, .version = version, .caller = caller};

	return pick(handle, &q, (struct kv_pick){.jump = (void *)next_dlvsym()});
}

CUresult cuGetProcAddress(const char *symbol, void **pfn, int version, cuuint64_t flags)
{
	CUresult result;

	kv_real_load();
	result = kv_real.cuGetProcAddress(symbol, pfn, version, flags);
	if (result == CUDA_SUCCESS && pfn)
		*pfn = kv_route(*pfn);
	return result;
}

CUresult cuGetProcAddress_v2(const char *symbol, void **pfn, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	CUresult result;

	kv_real_load();
	result = kv_real.cuGetProcAddress_v2(symbol, pfn, version, flags, status);
	if (result == CUDA_SUCCESS && pfn)
		*pfn = kv_route(*pfn);
	return result;
}
