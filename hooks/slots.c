/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.c - turns import slots that hold the driver's own entry points to our wrappers.
 *
 * The walk runs under the loader's lock for its list of objects, which keeps each object mapped.
 * Nothing in it may call the loader: another thread in dlopen() holds its other lock and waits for
 * this one. So what has to be asked is asked before.
 */
#include "hooks/slots.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hooks/elf_image.h"
#include "hooks/lookup.h"
#include "hooks/real.h"

#if defined(__x86_64__)
#define RELOC_CALL_SLOT R_X86_64_JUMP_SLOT
#define RELOC_DATA_SLOT R_X86_64_GLOB_DAT
#define RELOC_POINTER R_X86_64_64
#else
#error "import slots: name the relocation types of this architecture"
#endif

struct walk {
	uintptr_t page;
	unsigned long long adds; /* objects ever loaded, as seen in the walk */
	int n_rewritten;
	bool wins; /* a global look-up of a hooked name ends at our export, or at the driver's */
};

/* busy: one walk at a time; acquire and release. adds: of the last walk, 0: none yet; relaxed. */
static struct {
	_Atomic bool busy;
	_Atomic unsigned long long adds;
} last;

static bool is_ours(const struct kv_elf_image *image)
{
	return kv_elf_image_contains(image, (const void *)kv_slots_rewrite);
}

/*
 * What belongs into the slot, or NULL to leave it. A call slot that is not yet bound still points
 * into its own object; it would be bound past us only if the object was loaded with RTLD_DEEPBIND,
 * which cannot be seen from here; the wrapper is right in both cases if the object needs libcuda
 * itself, and a global look-up would find us or the driver (and not another hooker).
 */
static void *belongs(const struct walk *walk, const struct kv_elf_image *image, uintptr_t value,
	uint32_t type, const char *symbol)
{
	void *wrapper = kv_route((void *)value), *named;

	if (wrapper != (void *)value)
		return wrapper;
	if (type != RELOC_CALL_SLOT || !walk->wins || !kv_elf_image_contains(image, (void *)value))
		return NULL;
	if (strncmp(symbol, "cu", 2) || !kv_hooked_name(symbol, &named))
		return NULL;
	if (kv_elf_image_symbol(image, symbol) || !kv_elf_image_needs(image, "libcuda.so.1"))
		return NULL;
	return named;
}

/* 0 or -errno. Slots that the loader made read-only are opened for the time of the store. */
static int write_slot(
	const struct walk *walk, const struct kv_elf_image *image, uintptr_t slot, void *value)
{
	void *page = (void *)(slot & ~(walk->page - 1));
	bool relro = slot >= image->relro_start && slot < image->relro_end;

	if (relro && mprotect(page, walk->page, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	__atomic_store_n((uintptr_t *)slot, (uintptr_t)value, __ATOMIC_RELEASE);
	if (relro && mprotect(page, walk->page, PROT_READ) < 0)
		return -errno;
	return 0;
}

static void rewrite(
	struct walk *walk, const struct kv_elf_image *image, const ElfW(Rela) * relocs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t type = ELF64_R_TYPE(relocs[i].r_info);
		uint32_t symbol = ELF64_R_SYM(relocs[i].r_info);
		uintptr_t slot = image->base + relocs[i].r_offset, value;
		void *wanted;

		if ((type != RELOC_CALL_SLOT && type != RELOC_DATA_SLOT && type != RELOC_POINTER) ||
			!symbol || slot % sizeof(slot) != 0 || slot < image->start ||
			slot >= image->end)
			continue;
		value = __atomic_load_n((uintptr_t *)slot, __ATOMIC_RELAXED);
		wanted = belongs(
			walk, image, value, type, image->strings + image->symbols[symbol].st_name);
		if (wanted && write_slot(walk, image, slot, wanted) == 0)
			walk->n_rewritten++;
	}
}

static int visit(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct walk *walk = ctx;
	struct kv_elf_image image;

	walk->adds = info->dlpi_adds;
	if (!kv_elf_image_read(info, &image))
		return 0;
	/* libcuda's own slots are its own business, and so are ours. */
	if (is_ours(&image) || kv_real_contains((void *)image.dynamic))
		return 0;
	rewrite(walk, &image, image.plt_relocs, image.n_plt_relocs);
	rewrite(walk, &image, image.relocs, image.n_relocs);
	return 0;
}

static int first_adds(struct dl_phdr_info *info, size_t size, void *ctx)
{
	*(unsigned long long *)ctx = info->dlpi_adds;
	return 1;
}

int kv_slots_rewrite(void)
{
	struct walk walk = {.page = (uintptr_t)sysconf(_SC_PAGESIZE)};
	unsigned long long adds = 0;
	void *found;

	dl_iterate_phdr(first_adds, &adds);
	if (adds == atomic_load_explicit(&last.adds, memory_order_relaxed))
		return 0;
	if (kv_real_load_if_present() < 0)
		return 0;
	if (atomic_exchange_explicit(&last.busy, true, memory_order_acquire))
		return -EBUSY;
	found = kv_libc_dlsym()(RTLD_DEFAULT, "cuGetProcAddress");
	walk.wins =
		kv_route(found) == (void *)cuGetProcAddress || found == (void *)cuGetProcAddress;
	dl_iterate_phdr(visit, &walk);
	atomic_store_explicit(&last.adds, walk.adds, memory_order_relaxed);
	atomic_store_explicit(&last.busy, false, memory_order_release);
	return walk.n_rewritten;
}
