/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairs.c - what a launch costs through the shim and past it, in turns, in one process.
 *
 *   micro_pairs PAIRS LAUNCHES RESERVATIONS [hit]
 *
 * A kernel of eight addresses is launched LAUNCHES times by the driver's own function and as often
 * by the one that a program gets; then the other way round, and so on for PAIRS pairs. Both loops
 * are the same code, on the same memory, some microseconds apart, so that what the machine does
 * meanwhile falls on both alike, and what it does to one of them shows as a pair that stands out.
 * Prints the nanoseconds per launch of each pair: "PAST THROUGH". Without the shim both are the
 * same function: what is printed then is the error of the method.
 *
 * The driver's own function is looked up in the library's own tables, where no preload is asked.
 */
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/micro/micro.h"

#define SIZE (16 * MIB)
#define MAX_RESERVATIONS 64u
#define MAX_PAIRS 100000u

struct wanted {
	const char *name;
	void *address; /* out; NULL: not found */
};

/* The tables of one loaded object. */
struct tables {
	const ElfW(Sym) * symbols;
	const char *strings;
	const uint32_t *hash; /* of the GNU kind */
};

/* Addresses in the dynamic section are absolute here, as glibc leaves them on this architecture. */
static struct tables tables_of(const struct dl_phdr_info *info)
{
	struct tables t = {0};

	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Dyn) * d;

		if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
			continue;
		d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
		for (; d->d_tag != DT_NULL; d++) {
			if (d->d_tag == DT_SYMTAB)
				t.symbols = (const void *)d->d_un.d_ptr;
			else if (d->d_tag == DT_STRTAB)
				t.strings = (const void *)d->d_un.d_ptr;
			else if (d->d_tag == DT_GNU_HASH)
				t.hash = (const void *)d->d_un.d_ptr;
		}
	}
	return t;
}

/* One more than the last symbol that the hash table leads to. */
static uint32_t n_symbols(const uint32_t *hash)
{
	uint32_t n_buckets = hash[0], first = hash[1], last = 0;
	const uint32_t *buckets = hash + 4 + hash[2] * sizeof(ElfW(Addr)) / 4;
	const uint32_t *chain = buckets + n_buckets;

	for (uint32_t i = 0; i < n_buckets; i++)
		last = buckets[i] > last ? buckets[i] : last;
	if (last < first)
		return first;
	while (!(chain[last - first] & 1))
		last++;
	return last + 1;
}

static int look(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct wanted *wanted = ctx;
	struct tables t;

	if (!strstr(info->dlpi_name, "libcuda.so"))
		return 0;
	t = tables_of(info);
	if (!t.symbols || !t.strings || !t.hash)
		return 0;
	for (uint32_t i = t.hash[1]; i < n_symbols(t.hash); i++)
		if (t.symbols[i].st_shndx != SHN_UNDEF &&
			!strcmp(t.strings + t.symbols[i].st_name, wanted->name))
			wanted->address = (void *)(info->dlpi_addr + t.symbols[i].st_value);
	return wanted->address != NULL;
}

static double many(PFN_cuLaunchKernel_v4000 launch, CUfunction f, void **params, unsigned long n)
{
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < n; i++)
		micro_must(launch(f, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL), "a launch");
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
	       (double)n;
}

int main(int argc, char **argv)
{
	unsigned long n_pairs = argc > 3 ? strtoul(argv[1], NULL, 0) : 0;
	unsigned long launches = argc > 3 ? strtoul(argv[2], NULL, 0) : 0;
	unsigned long n = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;
	bool hit = argc > 4 && !strcmp(argv[4], "hit");
	struct wanted past = {.name = "cuLaunchKernel"};
	CUdeviceptr r[MAX_RESERVATIONS], args[8], native;
	double(*ns)[2];
	void *params[8];
	CUfunction f;

	if (!n_pairs || n_pairs > MAX_PAIRS || !launches || n > MAX_RESERVATIONS ||
		(hit && n < 8)) {
		fprintf(stderr, "usage: micro_pairs PAIRS LAUNCHES RESERVATIONS [hit]\n");
		return 2;
	}
	ns = calloc(n_pairs, sizeof(*ns));
	micro_start();
	dl_iterate_phdr(look, &past);
	if (!ns || !past.address) {
		printf("SKIP: the driver's own cuLaunchKernel cannot be found\n");
		return 77;
	}
	f = micro_kernel("micro_eight");
	native = micro_alloc(4096);
	for (unsigned long i = 0; i < n; i++)
		r[i] = micro_alloc(SIZE);
	for (unsigned i = 0; i < 8; i++) {
		args[i] = hit ? r[i] : native + 64 * i;
		params[i] = &args[i];
	}
	/* The first launches find out about the kernel and make whole what is hit. */
	many(cu.cuLaunchKernel, f, params, 100);
	for (unsigned long i = 0; i < n_pairs; i++)
		for (int turn = 0; turn < 2; turn++) {
			int through = turn ^ (int)(i & 1);

			ns[i][through] = many(through ? cu.cuLaunchKernel
						      : (PFN_cuLaunchKernel_v4000)past.address,
				f, params, launches);
		}
	MUST(cuCtxSynchronize);
	for (unsigned long i = 0; i < n_pairs; i++)
		printf("%.2f %.2f\n", ns[i][0], ns[i][1]);
	free(ns);
	for (unsigned long i = 0; i < n; i++)
		MUST(cuMemFree_v2, r[i]);
	MUST(cuMemFree_v2, native);
	return micro_end();
}
