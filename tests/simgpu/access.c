/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.c - every byte that moves goes through here: translation, permission, the mirror.
 *
 * What the program writes goes to the paged memory and to the mirror; what a manager writes goes to
 * the paged memory only; what the program reads is compared. A twin's read, a copy's source and a
 * memory operation are reads.
 */
#include <string.h>
#include <stdio.h>

#include "memory.h"

static bool reaches(const struct sim_access *access, int owner, uint8_t devices)
{
	if (!access->context)
		return true;
	int me = access->context->device->ordinal;
	return (devices >> me & 1) || (access->copy && owner >= 0 && (devices >> owner & 1)) ||
	       (access->copy && owner < 0 && devices);
}

static bool segment_of_mapping(
	struct sim_access *access, struct sim_range *range, uint64_t addr, struct sim_segment *ret)
{
	struct sim_mapping *m = sim_range_mapping(range, addr);

	if (!m) {
		access->why = "not mapped";
		return false;
	}
	if (!reaches(access, m->handle->extent.device, access->write ? m->writable : m->readable)) {
		access->why = m->readable ? "no access for this device"
					  : "mapped, but access was never set";
		return false;
	}
	ret->store = m->handle->extent.store;
	ret->offset = m->handle->extent.offset + m->offset + (addr - m->base);
	ret->size = m->base + m->size - addr;
	ret->mirror = range->mirror;
	ret->mirror_offset = addr - range->base;
	return true;
}

bool sim_segment(struct sim_access *access, uint64_t addr, uint64_t size, struct sim_segment *ret)
{
	struct sim_range *range = sim_range_find(addr);

	memset(ret, 0, sizeof(*ret));
	ret->range = range;
	if (!range) {
		access->why = "no such device address";
		if (!access->host_ok)
			return false;
		ret->bytes = (uint8_t *)addr;
		ret->size = size;
		return true;
	}
	switch (range->kind) {
	case SIM_RANGE_RESERVED:
		if (!segment_of_mapping(access, range, addr, ret))
			return false;
		break;
	case SIM_RANGE_DEVICE:
	case SIM_RANGE_POOL: {
		uint8_t devices = (uint8_t)(1u << range->device);
		if (access->context)
			devices |= access->context->peers >> range->device & 1
					   ? (uint8_t)(1u << access->context->device->ordinal)
					   : 0;
		if (!reaches(access, range->device, devices)) {
			access->why = "memory of a device without peer access";
			return false;
		}
		ret->store = range->extent.store;
		ret->offset = range->extent.offset + (addr - range->base);
		ret->size = range->base + range->size - addr;
		break;
	}
	default:
		ret->bytes = (uint8_t *)addr;
		ret->size = range->base + range->size - addr;
	}
	if (ret->size > size)
		ret->size = size;
	return true;
}

void sim_fault(struct sim_run *run, uint64_t addr, bool write, const char *why)
{
	struct sim_range *range = sim_range_find(addr);
	char where[96] = "";

	if (range)
		snprintf(where, sizeof(where), " (byte %llu of the range at 0x%llx)",
			(unsigned long long)(addr - range->base), (unsigned long long)range->base);
	sim_report(SIM_FAULT, "%s %s 0x%llx: %s%s", run->what, write ? "writes" : "reads",
		(unsigned long long)addr, why, where);
	if (run->context)
		atomic_store(&run->context->sticky, CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void mismatch(
	const struct sim_run *run, const struct sim_segment *s, uint64_t addr, uint64_t at)
{
	uint8_t paged, ideal;

	sim_store_read(s->store, s->offset + at, &paged, 1);
	sim_store_read(s->mirror, s->mirror_offset + at, &ideal, 1);
	sim_report(SIM_MISMATCH,
		"%s reads 0x%llx (byte %llu of the range at 0x%llx): 0x%02x, should be 0x%02x",
		run->what, (unsigned long long)(addr + at),
		(unsigned long long)(s->mirror_offset + at), (unsigned long long)s->range->base,
		paged, ideal);
}

/* Compares what the program is about to read with the ideal memory. */
static void check(
	const struct sim_run *run, const struct sim_segment *s, uint64_t addr, uint64_t size)
{
	if (!s->mirror || run->manager)
		return;
	atomic_fetch_add_explicit(&sim_bytes_compared, size, memory_order_relaxed);
	uint64_t at = sim_store_compare(s->store, s->offset, s->mirror, s->mirror_offset, size);
	if (at < size)
		mismatch(run, s, addr, at);
}

/* ---- twins ---- */

static struct sim_run *run_of(const struct sim_call *call)
{
	return (struct sim_run *)((uint8_t *)(uintptr_t)call - offsetof(struct sim_run, call));
}

enum mode {
	MODE_READ,
	MODE_READ_DEAD,
	MODE_READ_IDEAL,
	MODE_WRITE,
	MODE_WRITE_IDEAL,
	MODE_PROBE_READ,
	MODE_PROBE_WRITE
};

static bool touch(
	const struct sim_call *call, uint64_t addr, void *buffer, uint64_t size, enum mode mode)
{
	struct sim_run *run = run_of(call);
	bool write = mode == MODE_WRITE || mode == MODE_WRITE_IDEAL || mode == MODE_PROBE_WRITE;
	struct sim_access access = {.context = run->context, .write = write};
	uint8_t *bytes = buffer;
	bool ok = true;

	pthread_mutex_lock(&sim_memory_lock);
	while (size && ok) {
		struct sim_segment s;
		if (!sim_segment(&access, addr, size, &s)) {
			sim_fault(run, addr, write, access.why);
			ok = false;
			break;
		}
		if (mode == MODE_READ)
			check(run, &s, addr, s.size);
		if (mode == MODE_READ_IDEAL && s.mirror) {
			sim_store_read(s.mirror, s.mirror_offset, bytes, s.size);
		} else if (mode <= MODE_READ_IDEAL) {
			if (s.store)
				sim_store_read(s.store, s.offset, bytes, s.size);
			else
				memcpy(bytes, s.bytes, s.size);
		} else if (mode == MODE_WRITE) {
			if (s.store)
				sim_store_write(s.store, s.offset, bytes, s.size);
			else
				memcpy(s.bytes, bytes, s.size);
			if (s.mirror && !run->manager)
				sim_store_write(s.mirror, s.mirror_offset, bytes, s.size);
		} else if (mode == MODE_WRITE_IDEAL && s.mirror) {
			sim_store_write(s.mirror, s.mirror_offset, bytes, s.size);
		}
		addr += s.size;
		size -= s.size;
		if (bytes)
			bytes += s.size;
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return ok;
}

bool sim_read(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return touch(call, addr, buffer, size, MODE_READ);
}

bool sim_read_dead(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return touch(call, addr, buffer, size, MODE_READ_DEAD);
}

bool sim_read_ideal(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return touch(call, addr, buffer, size, MODE_READ_IDEAL);
}

bool sim_write_ideal(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	return touch(call, addr, (void *)(uintptr_t)buffer, size, MODE_WRITE_IDEAL);
}

bool sim_write(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	return touch(call, addr, (void *)(uintptr_t)buffer, size, MODE_WRITE);
}

bool sim_probe(const struct sim_call *call, uint64_t addr, size_t size, bool write)
{
	return touch(call, addr, NULL, size, write ? MODE_PROBE_WRITE : MODE_PROBE_READ);
}

/* ---- copies ---- */

static void move(
	struct sim_run *run, struct sim_segment *dst, struct sim_segment *src, uint64_t size)
{
	if (dst->store && src->store)
		sim_store_copy(dst->store, dst->offset, src->store, src->offset, size);
	else if (dst->store)
		sim_store_write(dst->store, dst->offset, src->bytes, size);
	else if (src->store)
		sim_store_read(src->store, src->offset, dst->bytes, size);
	else
		memmove(dst->bytes, src->bytes, size);
	if (!dst->mirror || run->manager)
		return;
	/* The ideal memory gets the ideal content, whatever the paged source holds. */
	if (src->mirror)
		sim_store_copy(
			dst->mirror, dst->mirror_offset, src->mirror, src->mirror_offset, size);
	else if (src->store)
		sim_store_copy(dst->mirror, dst->mirror_offset, src->store, src->offset, size);
	else
		sim_store_write(dst->mirror, dst->mirror_offset, src->bytes, size);
}

static bool copy_row(
	struct sim_run *run, const struct sim_copy *copy, uint64_t dst, uint64_t src, uint64_t size)
{
	struct sim_access to = {
		.context = run->context, .write = true, .copy = true, .host_ok = copy->dst_host};
	struct sim_access from = {.context = run->context, .copy = true, .host_ok = copy->src_host};

	while (size) {
		struct sim_segment d, s;
		if (!sim_segment(&from, src, size, &s)) {
			sim_fault(run, src, false, from.why);
			return false;
		}
		if (!sim_segment(&to, dst, size, &d)) {
			sim_fault(run, dst, true, to.why);
			return false;
		}
		uint64_t n = d.size < s.size ? d.size : s.size;
		/* Within the device a loss is copied along with the rest, and found out by who
		 * reads it: an engine may copy rows that nobody will ever attend to. */
		if (sim_config.dead_strict || !d.mirror)
			check(run, &s, src, n);
		move(run, &d, &s, n);
		dst += n;
		src += n;
		size -= n;
	}
	return true;
}

void sim_run_copy(struct sim_run *run, const struct sim_copy *copy)
{
	uint64_t bytes = copy->width * copy->height * copy->depth;

	pthread_mutex_lock(&sim_memory_lock);
	for (uint64_t z = 0; z < copy->depth; z++) {
		for (uint64_t y = 0; y < copy->height; y++) {
			if (!copy_row(run, copy,
				    copy->dst + z * copy->dst_slice + y * copy->dst_pitch,
				    copy->src + z * copy->src_slice + y * copy->src_pitch,
				    copy->width))
				goto out;
		}
	}
out:
	pthread_mutex_unlock(&sim_memory_lock);
	if (sim_config.bandwidth)
		sim_delay_ns((uint64_t)((double)bytes * 1e9 / (double)sim_config.bandwidth));
}

static void fill_segment(struct sim_run *run, struct sim_segment *s, const struct sim_set *set)
{
	if (s->store)
		sim_store_fill(s->store, s->offset, s->size, set->value, set->element);
	else
		for (uint64_t i = 0; i < s->size; i += set->element)
			memcpy(s->bytes + i, &set->value, set->element);
	if (s->mirror && !run->manager)
		sim_store_fill(s->mirror, s->mirror_offset, s->size, set->value, set->element);
}

void sim_run_set(struct sim_run *run, const struct sim_set *set)
{
	struct sim_access access = {.context = run->context, .write = true};

	pthread_mutex_lock(&sim_memory_lock);
	for (uint64_t y = 0; y < set->height; y++) {
		uint64_t addr = set->dst + y * set->pitch, size = set->width * set->element;
		while (size) {
			struct sim_segment s;
			if (!sim_segment(&access, addr, size, &s)) {
				sim_fault(run, addr, true, access.why);
				goto out;
			}
			fill_segment(run, &s, set);
			addr += s.size;
			size -= s.size;
		}
	}
out:
	pthread_mutex_unlock(&sim_memory_lock);
}

bool sim_run_memop(struct sim_run *run, const struct sim_memop *memop)
{
	uint64_t size = memop->wide ? 8 : 4, value = 0;

	if (!memop->wait)
		return sim_write(&run->call, memop->addr, &memop->value, size);
	if (!sim_read(&run->call, memop->addr, &value, size))
		return true; /* the context is lost; nothing to wait for */
	switch (memop->flags & 3) {
	case CU_STREAM_WAIT_VALUE_EQ:
		return value == memop->value;
	case CU_STREAM_WAIT_VALUE_AND:
		return value & memop->value;
	case CU_STREAM_WAIT_VALUE_NOR:
		return ~(value | memop->value) & (memop->wide ? UINT64_MAX : UINT32_MAX);
	default:
		return memop->wide ? (int64_t)(value - memop->value) >= 0
				   : (int32_t)((uint32_t)value - (uint32_t)memop->value) >= 0;
	}
}

/* ---- checks at the call ---- */

/* True if every byte of a row can be reached now. */
static bool row_ok(struct sim_access *access, uint64_t addr, uint64_t size, uint64_t *ret_at)
{
	while (size) {
		struct sim_segment s;
		*ret_at = addr;
		if (!sim_segment(access, addr, size, &s))
			return false;
		addr += s.size;
		size -= s.size;
	}
	return true;
}

CUresult sim_check_copy(struct sim_context *context, const struct sim_copy *copy)
{
	struct sim_access to = {
		.context = context, .write = true, .copy = true, .host_ok = copy->dst_host};
	struct sim_access from = {.context = context, .copy = true, .host_ok = copy->src_host};
	CUresult result = CUDA_SUCCESS;
	uint64_t at;

	pthread_mutex_lock(&sim_memory_lock);
	for (uint64_t z = 0; z < copy->depth && !result; z++) {
		for (uint64_t y = 0; y < copy->height && !result; y++) {
			struct sim_access *bad = NULL;
			if (!row_ok(&from, copy->src + z * copy->src_slice + y * copy->src_pitch,
				    copy->width, &at))
				bad = &from;
			else if (!row_ok(&to, copy->dst + z * copy->dst_slice + y * copy->dst_pitch,
					 copy->width, &at))
				bad = &to;
			if (bad) {
				sim_report(SIM_VIOLATION, "copy %s 0x%llx: %s",
					bad == &to ? "to" : "from", (unsigned long long)at,
					bad->why);
				result = CUDA_ERROR_INVALID_VALUE;
			}
		}
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}

CUresult sim_check_set(struct sim_context *context, const struct sim_set *set)
{
	struct sim_access access = {.context = context, .write = true};
	CUresult result = CUDA_SUCCESS;
	uint64_t at;

	pthread_mutex_lock(&sim_memory_lock);
	for (uint64_t y = 0; y < set->height && !result; y++) {
		if (!row_ok(&access, set->dst + y * set->pitch, set->width * set->element, &at)) {
			sim_report(SIM_VIOLATION, "set of 0x%llx: %s", (unsigned long long)at,
				access.why);
			result = CUDA_ERROR_INVALID_VALUE;
		}
	}
	pthread_mutex_unlock(&sim_memory_lock);
	return result;
}
