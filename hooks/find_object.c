/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find_object.c - _dl_find_object() for the unwinder that is linked into libkvshim.so.
 *
 * The unwinder (libgcc_eh, static) of a machine with glibc 2.35 or newer calls this function of
 * libc, so the library would not load where glibc 2.34 is. This one is hidden and does the same by
 * way of dl_iterate_phdr(); slower, but stacks are only looked at when a large allocation is made.
 */
#include <dlfcn.h>
#include <link.h>

#ifdef DLFO_STRUCT_HAS_EH_DBASE

struct wanted {
	uintptr_t pc;
	struct dl_find_object *object;
};

static int visit(struct dl_phdr_info *info, size_t size, void *ctx)
{
	const struct wanted *wanted = ctx;
	struct dl_find_object object = {.dlfo_flags = 0};
	uintptr_t start = UINTPTR_MAX, end = 0;
	int inside = 0;

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t from = info->dlpi_addr + segment->p_vaddr, to = from + segment->p_memsz;

		if (segment->p_type == PT_LOAD) {
			start = from < start ? from : start;
			end = to > end ? to : end;
			inside |= wanted->pc >= from && wanted->pc < to;
		} else if (segment->p_type == PT_GNU_EH_FRAME) {
			object.dlfo_eh_frame = (void *)from;
		}
	}
	if (!inside)
		return 0;
	object.dlfo_map_start = (void *)start;
	object.dlfo_map_end = (void *)end;
	*wanted->object = object;
	return object.dlfo_eh_frame ? 1 : -1;
}

/* 0 and *object filled but for the link map, or -1: no object there, or none that can be unwound.
 */
int _dl_find_object(void *pc, struct dl_find_object *object)
{
	struct wanted wanted = {.pc = (uintptr_t)pc, .object = object};

	return dl_iterate_phdr(visit, &wanted) == 1 ? 0 : -1;
}

#endif
