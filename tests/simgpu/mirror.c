/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.c - what the program asked for, told from outside.
 *
 * The ideal memory itself is kept by access.c as work runs. But whoever manages memory behind a
 * program's back may leave out work that it can prove needless (zeros into pages that are zero),
 * and then nothing arrives here. So a runtime, or a test, that sits above the manager notes its
 * sets and copies with the functions of simgpu.h, in stream order, just before it makes the call.
 * Noting what arrives here as well is harmless.
 */
#include <string.h>

#include "entry.h"
#include "memory.h"
#include "simgpu.h"

/* The mirrored range at addr, or NULL; *ret_size: bytes of it, at most size. */
static struct sim_range *mirrored(uint64_t addr, uint64_t size, uint64_t *ret_size)
{
	struct sim_range *range = sim_range_find(addr);

	*ret_size = size;
	if (!range)
		return NULL;
	uint64_t left = range->base + range->size - addr;
	if (left < size)
		*ret_size = left;
	return range->mirror ? range : NULL;
}

static void note_set(const struct sim_set *set)
{
	uint64_t size = set->width * set->element;
	struct sim_range *range = mirrored(set->dst, size, &size);

	if (range)
		sim_store_fill(
			range->mirror, set->dst - range->base, size, set->value, set->element);
}

static void note_copy(const struct sim_copy *copy)
{
	uint64_t size = copy->width, part;
	struct sim_range *dst = mirrored(copy->dst, size, &size);
	struct sim_range *src = mirrored(copy->src, size, &part);

	if (!dst)
		return;
	if (src && part >= size) {
		sim_store_copy(dst->mirror, copy->dst - dst->base, src->mirror,
			copy->src - src->base, size);
		return;
	}
	struct sim_access access = {.copy = true, .host_ok = true};
	for (uint64_t done = 0; done < size;) {
		struct sim_segment s;
		if (!sim_segment(&access, copy->src + done, size - done, &s))
			return;
		uint64_t at = copy->dst + done - dst->base;
		if (s.store)
			sim_store_copy(dst->mirror, at, s.store, s.offset, s.size);
		else
			sim_store_write(dst->mirror, at, s.bytes, s.size);
		done += s.size;
	}
}

static void note_check(const struct sim_copy *copy)
{
	uint64_t size;
	struct sim_range *src = mirrored(copy->src, copy->width, &size);
	uint8_t ideal[4096];

	if (!src)
		return;
	for (uint64_t done = 0; done < size;) {
		uint64_t n = size - done < sizeof(ideal) ? size - done : sizeof(ideal);
		const uint8_t *host = (const uint8_t *)copy->dst + done;
		sim_store_read(src->mirror, copy->src + done - src->base, ideal, n);
		for (uint64_t i = 0; i < n; i++) {
			if (host[i] == ideal[i])
				continue;
			sim_report(SIM_MISMATCH,
				"a copy brought 0x%02x from 0x%llx (byte %llu of the range at "
				"0x%llx), should be 0x%02x",
				host[i], (unsigned long long)(copy->src + done + i),
				(unsigned long long)(copy->src + done + i - src->base),
				(unsigned long long)src->base, ideal[i]);
			return;
		}
		done += n;
	}
}

void sim_run_note(struct sim_run *run, const struct sim_note *note)
{
	pthread_mutex_lock(&sim_memory_lock);
	switch (note->kind) {
	case SIM_NOTE_SET:
		note_set(&note->set);
		break;
	case SIM_NOTE_COPY:
		note_copy(&note->copy);
		break;
	case SIM_NOTE_CHECK:
		note_check(&note->copy);
		break;
	}
	pthread_mutex_unlock(&sim_memory_lock);
}

/* A capture makes nodes of what is noted in it: those are replayed with the graph. */
static void submit(CUstream handle, int per_thread, const struct sim_note *note)
{
	CUresult result;

	if (!sim_initialised() || sim_is_orphan() || !sim_config.mirror)
		return;
	bool before = sim_thread.per_thread;
	sim_thread.per_thread = per_thread;
	struct sim_stream *stream = sim_stream_get(handle, &result);
	sim_thread.per_thread = before;
	if (!stream || stream->capture)
		return;
	struct sim_work work = {.type = SIM_WORK_NOTE, .note = *note};
	sim_submit(stream, &work);
}

SIM_EXPORT void simgpu_program_set(CUdeviceptr dst, uint32_t value, uint32_t element, size_t n,
	CUstream stream, int per_thread)
{
	struct sim_note note = {.kind = SIM_NOTE_SET,
		.set = {.dst = dst, .width = n, .height = 1, .value = value, .element = element}};

	submit(stream, per_thread, &note);
}

SIM_EXPORT void simgpu_program_copy(
	CUdeviceptr dst, CUdeviceptr src, size_t size, CUstream stream, int per_thread)
{
	struct sim_note note = {
		.kind = SIM_NOTE_COPY, .copy = {.dst = dst, .src = src, .width = size}};

	submit(stream, per_thread, &note);
}

SIM_EXPORT void simgpu_program_check(
	const void *host, CUdeviceptr src, size_t size, CUstream stream, int per_thread)
{
	struct sim_note note = {
		.kind = SIM_NOTE_CHECK, .copy = {.dst = (uint64_t)host, .src = src, .width = size}};

	submit(stream, per_thread, &note);
}

SIM_EXPORT uint64_t simgpu_report_count(int kind)
{
	return kind >= 0 && kind < SIM_REPORTS ? atomic_load(&sim_reports[kind]) : 0;
}

SIM_EXPORT void simgpu_report_clear(void)
{
	for (int i = 0; i < SIM_REPORTS; i++)
		atomic_store(&sim_reports[i], 0);
}
