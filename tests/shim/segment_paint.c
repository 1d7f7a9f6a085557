/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment_paint.c - segments with made-up numbers, for the screens of kvshim-stat: the same on
 * every machine and at every time. Nobody runs behind the slots; their pids lie in a pid namespace
 * that does not exist, so that nobody can tell whether they live.
 *
 * usage: segment_paint DIRECTORY N_GPUS | segment_paint DIRECTORY load N_PROCESSES
 *
 * Says "painted 0"; for every line on its standard input a second passes: "painted 1" and so on.
 * Ends, and removes its segments, when the input ends. With load the slots name this process, so
 * that a reader has to look for it as often as for real ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/coord.h"

#define MIB (1024ull * 1024ull)
#define GIB (1024ull * MIB)
#define PAGE (2 * MIB)
#define SECOND 1000000000ull
#define PAINTED 1000u /* generation of a slot whose limits have been painted */
/* what kvshim-stat --test-clock is given: 2026-11-23 12:00:00 */
#define CLOCK (1795435200ull * SECOND)

/* A process as it is painted. Sizes in MiB. */
struct painted {
	int pid;
	uint32_t uid;
	const char *name, *note;
	enum kv_coord_state state;
	enum kv_coord_activity activity;
	uint64_t backed, native, evicted, spilled, spare, dead;
	uint64_t grows; /* backed per second */
	uint64_t min, max, host;
	uint32_t weight, idle_s;
	uint64_t idle_for_s, waits, pages_spilled;
	struct {
		uint64_t reserved, backed, evicted, spilled;
		enum kv_static_reason reason;
		const char *by, *rules, *tag;
	} rows[4];
};

static const struct painted scene[] = {
	{.pid = 4242,
		.name = "llama-server",
		.state = KV_COORD_ACTIVE,
		.backed = 20480,
		.native = 6144,
		.spare = 64,
		.dead = 512,
		.grows = 512,
		.min = 4096,
		.max = 40960,
		.host = 16384,
		.weight = 200,
		.idle_s = 60,
		.rows = {{49152, 16384, 0, 0, KV_STATIC_NO, "", "ggml/fattn", "kv"},
			{16384, 3072, 0, 0, KV_STATIC_NO, "", "ggml/fattn", "kv"},
			{1024, 1024, 0, 0, KV_STATIC_EXPORT, "cuMemExportToShareableHandle", "",
				""}}},
	{.pid = 4311,
		.uid = 4000000,
		.name = "llama-server",
		.state = KV_COORD_ACTIVE,
		.activity = KV_COORD_IDLE,
		.backed = 8192,
		.native = 4096,
		.evicted = 2048,
		.spare = 64,
		.min = 2048,
		.host = 8192,
		.weight = 100,
		.idle_s = 60,
		.idle_for_s = 95,
		.rows = {{32768, 8192, 2048, 0, KV_STATIC_NO, "", "ggml/fattn", "kv"}}},
	{.pid = 4555,
		.uid = 4000000,
		.name = "ollama_runner",
		.state = KV_COORD_ACTIVE,
		.activity = KV_COORD_EVICTED,
		.native = 1024,
		.evicted = 6144,
		.host = 8192,
		.weight = 100,
		.idle_s = 30,
		.idle_for_s = 1260,
		.rows = {{24576, 0, 6144, 0, KV_STATIC_NO, "", "ggml/fattn", ""}}},
	{.pid = 4777,
		.name = "python3",
		.state = KV_COORD_ACTIVE,
		.backed = 10240,
		.native = 2048,
		.weight = 100,
		.idle_s = 60,
		.rows = {{10240, 10240, 0, 0, KV_STATIC_KERNEL,
			"_ZN4vllm25paged_attention_v1_kernelItLi128ELi16EEEvPT_PKS1_", "", ""}}},
	{.pid = 4999,
		.uid = 4000001,
		.name = "old-engine",
		.note = "the driver has no VMM; everything is native",
		.state = KV_COORD_INERT,
		.native = 512,
		.weight = 100},
	{.pid = 5123,
		.name = "llama-bench",
		.state = KV_COORD_ACTIVE,
		.backed = 6144,
		.native = 1024,
		.spilled = 1024,
		.grows = 64,
		.max = 8192,
		.host = 2048,
		.weight = 50,
		.waits = 17,
		.pages_spilled = 512,
		.rows = {{16384, 6144, 0, 1024, KV_STATIC_NO, "", "ggml/fattn", ""}}},
};

/* Content from the front on, host memory behind device memory, some of it dead. */
static void paint_map(struct kv_reservation_stats *row)
{
	uint64_t backed = row->backed, evicted = row->evicted, spilled = row->spilled;
	uint64_t cell = row->reserved / KV_STATS_CELLS;

	for (uint32_t i = 0; i < KV_STATS_CELLS; i++) {
		uint64_t left = cell, part;

		part = backed < left ? backed : left;
		row->map[i].backed = (uint8_t)((part * 255 + cell - 1) / cell);
		backed -= part;
		left -= part;
		part = spilled < left ? spilled : left;
		row->map[i].spilled = (uint8_t)((part * 255 + cell - 1) / cell);
		spilled -= part;
		left -= part;
		part = evicted < left ? evicted : left;
		row->map[i].evicted = (uint8_t)((part * 255 + cell - 1) / cell);
		evicted -= part;
		if (row->dead && i < 2)
			row->map[i].dead = row->map[i].backed;
	}
}

static void paint_row(
	const struct painted *from, uint32_t at, uint64_t frame, struct kv_reservation_stats *row)
{
	memset(row, 0, sizeof(*row));
	row->base = 0x7f0000000000ull + 0x10000000000ull * at;
	row->reserved = from->rows[at].reserved * MIB;
	row->requested = row->reserved - MIB;
	row->backed = from->rows[at].backed * MIB;
	if (at == 0)
		row->backed += from->grows * frame * MIB;
	if (row->backed > row->reserved)
		row->backed = row->reserved;
	row->backed_peak = row->backed + 128 * MIB;
	row->evicted = from->rows[at].evicted * MIB;
	row->spilled = from->rows[at].spilled * MIB;
	row->dead = at == 0 ? from->dead * MIB : 0;
	row->page_size = PAGE;
	row->pages[KV_PAGE_BACKED] = (uint32_t)(row->backed / PAGE);
	row->pages[KV_PAGE_EVICTED] = (uint32_t)(row->evicted / PAGE);
	row->pages[KV_PAGE_SPILLED] = (uint32_t)(row->spilled / PAGE);
	row->pages[KV_PAGE_EMPTY] =
		(uint32_t)((row->reserved - row->backed - row->evicted - row->spilled) / PAGE);
	row->static_reason = from->rows[at].reason;
	row->created_ns = CLOCK - 3600 * SECOND;
	strcpy(row->static_by, from->rows[at].by);
	strcpy(row->rules, from->rows[at].rules);
	strcpy(row->tag, from->rows[at].tag);
	paint_map(row);
}

static void paint_process(const struct painted *from, uint64_t frame, struct kv_process_stats *to)
{
	memset(to, 0, sizeof(*to));
	to->backed = (from->backed + from->grows * frame) * MIB;
	to->backed_peak = to->backed + 256 * MIB;
	to->native = from->native * MIB;
	to->native_peak = to->native;
	to->evicted = from->evicted * MIB;
	to->spilled = from->spilled * MIB;
	to->spare = from->spare * MIB;
	to->dead = from->dead * MIB;
	to->host_budget = from->host * MIB;
	to->host_taken = to->evicted + to->spilled;
	for (uint32_t i = 0; i < 4 && from->rows[i].reserved; i++) {
		to->reserved += from->rows[i].reserved * MIB;
		to->n_reservations++;
		to->n_static += from->rows[i].reason != KV_STATIC_NO;
	}
	to->pages_backed = from->backed / 2 + 1000 + frame * (from->grows / 2 + from->grows / 16);
	to->pages_released = 1000 + frame * (from->grows / 16);
	to->pages_evicted = from->evicted / 2;
	to->pages_spilled = from->pages_spilled;
	to->driver_calls = 4000 + 8 * frame;
	to->submissions = 90000 + frame * from->grows;
	to->submitted = 120000 + frame * from->grows * 3;
	to->launches = 100000 + frame * from->grows * 2;
	to->quiesces = 12;
	to->quiesce_ns_max = 1800000;
	if (from->state == KV_COORD_ACTIVE)
		to->last_activity_ns =
			CLOCK + frame * SECOND - 40000000ull - from->idle_for_s * SECOND;
	to->last_submission_ns = to->last_activity_ns;
	to->waits = from->waits;
	to->wait_ns_max = from->waits ? 23000000 : 0;
	to->wait_ns = from->waits * 9000000;
	to->evictions = from->evicted ? 3 : 0;
	to->evicted_bytes = to->evictions * to->evicted;
	to->restores = from->evicted ? 2 : 0;
	to->restored_bytes = to->restores * to->evicted;
	to->launch_sample = 64;
	if (from->grows) {
		to->launch_ns[11] = 900;
		to->launch_ns[12] = 80;
		to->launch_ns[15] = 20;
	}
}

static void paint_slot(struct kv_coord_segment *segment, uint32_t index, const struct painted *from,
	uint64_t frame)
{
	struct kv_coord_slot *slot = &segment->slots[index];
	struct kv_coord_account *account = &segment->accounts[index];

	slot->owner_pid = from->pid;
	slot->owner_pidns = 1;
	slot->owner_uid = from->uid;
	strcpy(slot->name, from->name);
	strcpy(slot->note, from->note ? from->note : "");
	slot->updated_ns = CLOCK + frame * SECOND - 20000000ull;
	paint_process(from, frame, &slot->process);
	slot->n_rows = (uint32_t)slot->process.n_reservations;
	for (uint32_t i = 0; i < slot->n_rows; i++)
		paint_row(from, i, frame, &slot->rows[i]);
	/* once: what a test sets stays */
	if (slot->generation != PAINTED) {
		slot->control.limits.min = from->min * MIB;
		slot->control.limits.max = from->max ? from->max * MIB : KV_COORD_NO_LIMIT;
		slot->control.limits.host_budget = from->host * MIB;
		slot->control.limits.weight = from->weight;
		slot->control.limits.idle_ms = from->idle_s * 1000;
	}
	slot->generation = PAINTED;
	account->held = slot->process.backed + slot->process.spare;
	account->charged = account->held;
	account->native = slot->process.native;
	account->promised = slot->process.reserved;
	account->spare = slot->process.spare;
	account->activity = from->activity;
	account->activity_ns = slot->process.last_activity_ns;
	account->alive_ns = slot->updated_ns;
	account->asked = from->waits ? 128 * MIB : 0;
	slot->state = from->state;
}

static void paint_decision(struct kv_coord_segment *segment, uint64_t number, uint64_t ago_s,
	int requester, int victim, uint64_t bytes, enum kv_coord_reason reason, const char *text)
{
	struct kv_coord_decision *decision = &segment->decisions[(number - 1) % KV_COORD_DECISIONS];

	decision->time_ns = CLOCK - ago_s * SECOND;
	decision->requester_pid = requester;
	decision->victim_pid = victim;
	decision->bytes = bytes;
	decision->reason = reason;
	strcpy(decision->text, text);
	decision->number = number;
}

static void paint_decisions(struct kv_coord_segment *segment)
{
	/* in the policy's own words */
	paint_decision(segment, 1, 1300, 4242, 4555, 6 * GIB, KV_COORD_BECAUSE_IDLE,
		"6144 MiB: 4555 has been idle for 30.2 s");
	paint_decision(segment, 2, 240, 4242, 4311, 2 * GIB, KV_COORD_BECAUSE_IDLE,
		"2048 MiB: 4311 has been idle for 62.0 s");
	paint_decision(segment, 3, 31, 4242, 5123, 64 * MIB, KV_COORD_BECAUSE_SPARE,
		"64 MiB: 5123 has them spare");
	paint_decision(segment, 4, 12, 4242, 5123, 256 * MIB, KV_COORD_BECAUSE_SHARE,
		"256 MiB: 5123 holds 6400 (share 3047), 4242 22528 (share 24378)");
	paint_decision(segment, 5, 2, 5123, 0, 128 * MIB, KV_COORD_BECAUSE_NOBODY,
		"128 MiB: nobody can give them to 5123 (holds 6400, share 3047)");
	segment->n_decisions = 5;
}

static void paint_scene(struct kv_coord_segment *segment, uint32_t gpu, uint64_t frame)
{
	uint32_t n = gpu ? 2 : sizeof(scene) / sizeof(scene[0]);

	for (uint32_t i = 0; i < n; i++)
		paint_slot(segment, i, &scene[gpu ? i + 3 : i], frame);
	segment->outside = 700 * MIB;
	segment->free_seen = 9 * GIB;
	segment->free_seen_ns = CLOCK - SECOND;
	segment->n_waiting = 1;
	if (!gpu)
		paint_decisions(segment);
}

/* Copies of the first process of the scene that are this process, as its own slot tells. */
static void paint_load(struct kv_coord *coord, uint32_t n, uint64_t frame)
{
	struct kv_coord_segment *segment = kv_coord_segment(coord);
	struct kv_coord_slot *own = &segment->slots[kv_coord_slot_index(coord)];

	for (uint32_t i = 0; i < n; i++) {
		struct kv_coord_slot *slot = &segment->slots[i];
		uint64_t pidns = own->owner_pidns, start = own->owner_start;
		uint64_t image = own->owner_image;

		paint_slot(segment, i, &scene[0], frame + i);
		slot->owner_pid = getpid();
		slot->owner_pidns = pidns;
		slot->owner_start = start;
		slot->owner_image = image;
	}
}

int main(int argc, char **argv)
{
	struct kv_coord_request request = {.gpu_name = "Paper GPU 80G", .gpu_total = 80 * GIB};
	bool load = argc == 4 && strcmp(argv[2], "load") == 0;
	uint32_t n_gpus, n_load = load ? (uint32_t)atoi(argv[3]) : 0;
	struct kv_coord *coords[8];
	char text[128], line[64], path[512];
	int error;

	if (argc < 3 || argc > 4 || n_load > KV_COORD_SLOTS)
		return 2;
	n_gpus = load ? 1 : (uint32_t)atoi(argv[2]);
	if (n_gpus > 8)
		return 2;
	request.directory = argv[1];
	for (uint32_t i = 0; i < n_gpus; i++) {
		memset(request.uuid, (int)(0x11 * (i + 1)), sizeof(request.uuid));
		error = kv_coord_join(&request, &coords[i], text, sizeof(text));
		if (error) {
			fprintf(stderr, "join: %s %s\n", strerror(-error), text);
			return 1;
		}
	}
	for (uint64_t frame = 0;; frame++) {
		for (uint32_t i = 0; i < n_gpus; i++) {
			if (load)
				paint_load(coords[i], n_load, frame);
			else
				paint_scene(kv_coord_segment(coords[i]), i, frame);
		}
		printf("painted %llu\n", (unsigned long long)frame);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			break;
	}
	for (uint32_t i = 0; i < n_gpus; i++) {
		memset(request.uuid, (int)(0x11 * (i + 1)), sizeof(request.uuid));
		if (kv_coord_path(argv[1], (uint32_t)geteuid(), request.uuid, path, sizeof(path)) ==
			0)
			unlink(path);
	}
	return 0;
}
