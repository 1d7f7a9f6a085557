/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - bytes that cost nothing until they are written. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory.h"

struct sim_store *sim_store_new(uint64_t size, uint8_t virgin, bool anonymous)
{
	struct sim_store *store = calloc(1, sizeof(*store));
	if (!store)
		return NULL;
	store->fd = -1;
	store->virgin = virgin;
	store->base = MAP_FAILED;
	store->states = MAP_FAILED;
	store->size = (size + SIM_BLOCK - 1) / SIM_BLOCK * SIM_BLOCK;
	if (!anonymous) {
		store->fd = memfd_create("simgpu", MFD_CLOEXEC);
		if (store->fd < 0 || ftruncate(store->fd, (off_t)store->size))
			goto fail;
	}
	store->base = mmap(NULL, store->size, PROT_READ | PROT_WRITE,
		MAP_NORESERVE | (anonymous ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED), store->fd,
		0);
	if (store->base == MAP_FAILED)
		goto fail;
	store->states = mmap(NULL, store->size / SIM_BLOCK, PROT_READ | PROT_WRITE,
		MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (store->states == MAP_FAILED)
		goto fail;
	/* Huge pages would make a byte cost 2 MiB. */
	madvise(store->base, store->size, MADV_NOHUGEPAGE);
	return store;
fail:
	if (store->base != MAP_FAILED)
		munmap(store->base, store->size);
	if (store->fd >= 0)
		close(store->fd);
	free(store);
	return NULL;
}

void sim_store_free(struct sim_store *store)
{
	if (!store)
		return;
	munmap(store->base, store->size);
	munmap(store->states, store->size / SIM_BLOCK);
	if (store->fd >= 0)
		close(store->fd);
	free(store);
}

static void punch(struct sim_store *store, uint64_t offset, uint64_t size)
{
	bool done;

	if (store->fd >= 0)
		done = fallocate(store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)offset, (off_t)size) == 0;
	else
		done = madvise(store->base + offset, size, MADV_DONTNEED) == 0;
	if (!done)
		memset(store->base + offset, 0, size);
}

/* Gives whole blocks a state without data; runs of data go back to the host in one call. */
static void set_blocks(struct sim_store *store, uint64_t first, uint64_t end, uint8_t state)
{
	for (uint64_t b = first; b < end;) {
		uint64_t from = b;
		while (b < end && store->states[b] == SIM_BLOCK_DATA)
			b++;
		if (b > from)
			punch(store, from * SIM_BLOCK, (b - from) * SIM_BLOCK);
		while (b < end && store->states[b] != SIM_BLOCK_DATA)
			b++;
	}
	memset(store->states + first, state, end - first);
}

void sim_store_forget(struct sim_store *store, uint64_t offset, uint64_t size)
{
	set_blocks(store, offset / SIM_BLOCK, (offset + size + SIM_BLOCK - 1) / SIM_BLOCK,
		SIM_BLOCK_VIRGIN);
}

/* Makes a block data. keep: its present content matters. */
static void materialise(struct sim_store *store, uint64_t block, bool keep)
{
	if (store->states[block] == SIM_BLOCK_VIRGIN && keep && store->virgin)
		memset(store->base + block * SIM_BLOCK, store->virgin, SIM_BLOCK);
	store->states[block] = SIM_BLOCK_DATA;
}

void sim_store_expose(struct sim_store *store, uint64_t offset, uint64_t size)
{
	for (uint64_t b = offset / SIM_BLOCK; b * SIM_BLOCK < offset + size; b++)
		materialise(store, b, true);
}

static uint64_t in_block(uint64_t offset, uint64_t size)
{
	uint64_t left = SIM_BLOCK - offset % SIM_BLOCK;
	return size < left ? size : left;
}

void sim_store_read(const struct sim_store *store, uint64_t offset, void *buffer, uint64_t size)
{
	uint8_t *out = buffer;

	while (size) {
		uint64_t n = in_block(offset, size);
		switch (store->states[offset / SIM_BLOCK]) {
		case SIM_BLOCK_DATA:
			memcpy(out, store->base + offset, n);
			break;
		case SIM_BLOCK_ZERO:
			memset(out, 0, n);
			break;
		default:
			memset(out, store->virgin, n);
		}
		out += n;
		offset += n;
		size -= n;
	}
}

void sim_store_write(struct sim_store *store, uint64_t offset, const void *buffer, uint64_t size)
{
	const uint8_t *in = buffer;

	while (size) {
		uint64_t n = in_block(offset, size);
		if (store->states[offset / SIM_BLOCK] != SIM_BLOCK_DATA)
			materialise(store, offset / SIM_BLOCK, n < SIM_BLOCK);
		memcpy(store->base + offset, in, n);
		in += n;
		offset += n;
		size -= n;
	}
}

static void fill_zero(struct sim_store *store, uint64_t offset, uint64_t size)
{
	uint64_t first = (offset + SIM_BLOCK - 1) / SIM_BLOCK, end = (offset + size) / SIM_BLOCK;

	if (first < end)
		set_blocks(store, first, end, SIM_BLOCK_ZERO);
	while (size) {
		uint64_t n = in_block(offset, size), block = offset / SIM_BLOCK;
		if (block >= first && block < end) {
			n = end * SIM_BLOCK - offset;
		} else if (store->states[block] != SIM_BLOCK_ZERO) {
			materialise(store, block, true);
			memset(store->base + offset, 0, n);
		}
		offset += n;
		size -= n;
	}
}

void sim_store_fill(
	struct sim_store *store, uint64_t offset, uint64_t size, uint32_t pattern, uint32_t element)
{
	uint32_t mask = element == 4 ? 0xffffffff : (1u << (8 * element)) - 1;

	if (!(pattern & mask)) {
		fill_zero(store, offset, size);
		return;
	}
	while (size) {
		uint64_t n = in_block(offset, size);
		uint8_t *at = store->base + offset;
		if (store->states[offset / SIM_BLOCK] != SIM_BLOCK_DATA)
			materialise(store, offset / SIM_BLOCK, n < SIM_BLOCK);
		if (element == 1)
			memset(at, (int)(pattern & 0xff), n);
		else
			for (uint64_t i = 0; i < n; i += element)
				memcpy(at + i, &pattern, element);
		offset += n;
		size -= n;
	}
}

void sim_store_copy(struct sim_store *dst, uint64_t dst_offset, const struct sim_store *src,
	uint64_t src_offset, uint64_t size)
{
	while (size) {
		uint64_t n = in_block(src_offset, size);
		switch (src->states[src_offset / SIM_BLOCK]) {
		case SIM_BLOCK_DATA:
			sim_store_write(dst, dst_offset, src->base + src_offset, n);
			break;
		case SIM_BLOCK_ZERO: {
			/* A run of zero blocks at once, so that whole blocks of dst stay cheap too.
			 */
			uint64_t b = (src_offset + n) / SIM_BLOCK;
			while (n < size && src->states[b] == SIM_BLOCK_ZERO) {
				n += size - n < SIM_BLOCK ? size - n : SIM_BLOCK;
				b++;
			}
			fill_zero(dst, dst_offset, n);
			break;
		}
		default:
			sim_store_fill(dst, dst_offset, n, src->virgin, 1);
		}
		dst_offset += n;
		src_offset += n;
		size -= n;
	}
}

static bool reads_zero(const struct sim_store *store, uint64_t block)
{
	return store->states[block] == SIM_BLOCK_ZERO ||
	       (store->states[block] == SIM_BLOCK_VIRGIN && !store->virgin);
}

uint64_t sim_store_compare(const struct sim_store *a, uint64_t a_offset, const struct sim_store *b,
	uint64_t b_offset, uint64_t size)
{
	uint8_t left[4096], right[4096];
	uint64_t done = 0;

	while (done < size) {
		uint64_t ao = a_offset + done, bo = b_offset + done;
		uint64_t n = in_block(ao, size - done);
		uint64_t m = in_block(bo, size - done);
		if (m < n)
			n = m;
		if (reads_zero(a, ao / SIM_BLOCK) && reads_zero(b, bo / SIM_BLOCK)) {
			done += n;
			continue;
		}
		if (a->states[ao / SIM_BLOCK] == SIM_BLOCK_DATA &&
			b->states[bo / SIM_BLOCK] == SIM_BLOCK_DATA &&
			memcmp(a->base + ao, b->base + bo, n) == 0) {
			done += n;
			continue;
		}
		if (n > sizeof(left))
			n = sizeof(left);
		sim_store_read(a, ao, left, n);
		sim_store_read(b, bo, right, n);
		for (uint64_t i = 0; i < n; i++)
			if (left[i] != right[i])
				return done + i;
		done += n;
	}
	return size;
}
