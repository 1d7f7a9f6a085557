/* SPDX-License-Identifier: Apache-2.0 */
/* draw_json.c - kvshim-stat --json; docs/kvshim-stat.schema.json describes the result. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stat/draw.h"

#define SCHEMA_VERSION 1

/* Length of the UTF-8 sequence at text, 0 if it is none (also overlong forms and surrogates). */
static int utf8_length(const unsigned char *text)
{
	int length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	for (int i = 1; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return length;
}

/* text ends with NUL. Bytes that are no UTF-8 become U+FFFD. */
static void put_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		int length = *at < 0x80 ? 1 : utf8_length(at);

		if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else if (length == 0)
			fputs("\\ufffd", out);
		else
			fwrite(at, 1, (size_t)length, out);
		at += length > 1 ? length - 1 : 0;
	}
	fputc('"', out);
}

/* An empty string is null. */
static void put_text(const char *key, const char *text, FILE *out)
{
	fprintf(out, "\"%s\":", key);
	if (text && text[0])
		put_string(text, out);
	else
		fputs("null", out);
}

static void put_number(const char *key, uint64_t number, FILE *out)
{
	fprintf(out, ",\"%s\":%" PRIu64, key, number);
}

/* Milliseconds since then; null if it never was, or lies in the future. */
static void put_age(const char *key, uint64_t then_ns, uint64_t now_ns, FILE *out)
{
	if (then_ns == 0 || then_ns > now_ns)
		fprintf(out, ",\"%s\":null", key);
	else
		put_number(key, (now_ns - then_ns) / 1000000, out);
}

static void put_pages(
	bool known, uint64_t empty, uint64_t backed, uint64_t evicted, uint64_t spilled, FILE *out)
{
	if (!known) {
		fputs(",\"pages\":null", out);
		return;
	}
	fprintf(out,
		",\"pages\":{\"empty\":%" PRIu64 ",\"backed\":%" PRIu64 ",\"evicted\":%" PRIu64
		",\"spilled\":%" PRIu64 "}",
		empty, backed, evicted, spilled);
}

static void put_reservation(const struct kv_reservation_stats *row, uint64_t now_ns, FILE *out)
{
	fprintf(out, "{\"base\":\"0x%" PRIx64 "\"", row->base);
	put_number("requested_bytes", row->requested, out);
	put_number("reserved_bytes", row->reserved, out);
	put_number("backed_bytes", row->backed, out);
	put_number("backed_peak_bytes", row->backed_peak, out);
	put_number("evicted_bytes", row->evicted, out);
	put_number("spilled_bytes", row->spilled, out);
	put_number("page_bytes", row->page_size, out);
	put_pages(true, row->pages[KV_PAGE_EMPTY], row->pages[KV_PAGE_BACKED],
		row->pages[KV_PAGE_EVICTED], row->pages[KV_PAGE_SPILLED], out);
	if (row->static_reason) {
		fprintf(out, ",\"static\":{\"reason\":\"%s\",", kv_stat_reason(row->static_reason));
		put_text("by", row->static_by, out);
		fputc('}', out);
	} else {
		fputs(",\"static\":null", out);
	}
	if (row->score)
		fprintf(out, ",\"score\":%d,", (int)(row->score - 1000u));
	else
		fputs(",\"score\":null,", out);
	put_text("tag", row->tag, out);
	put_age("age_ms", row->created_ns, now_ns, out);
	fputc('}', out);
}

static void put_counters(const struct kv_process_stats *stats, FILE *out)
{
	fprintf(out, ",\"counters\":{\"pages_backed\":%" PRIu64, stats->pages_backed);
	put_number("pages_released", stats->pages_released, out);
	put_number("pages_evicted", stats->pages_evicted, out);
	put_number("pages_restored", stats->pages_restored, out);
	put_number("pages_spilled", stats->pages_spilled, out);
	put_number("driver_calls", stats->driver_calls, out);
	put_number("submissions", stats->submissions, out);
	put_number("quiesces", stats->quiesces, out);
	put_number("quiesce_timeouts", stats->quiesce_timeouts, out);
	put_number("quiesce_max_ns", stats->quiesce_ns_max, out);
	put_number("refused", stats->refused, out);
	put_number("passed", stats->passed, out);
	fputc('}', out);
}

static void put_known(const struct kv_stat_process *process, uint64_t now_ns, FILE *out)
{
	const struct kv_coord_slot *slot = &process->slot;
	const struct kv_process_stats *stats = &slot->process;
	bool first = true;

	put_text("name", slot->name, out);
	put_number("uid", slot->owner_uid, out);
	fprintf(out, ",\"state\":\"%s\",", slot->state == KV_COORD_INERT ? "inert" : "active");
	put_text("note", slot->note, out);
	put_age("updated_ago_ms", slot->updated_ns, now_ns, out);
	put_age("last_submission_ago_ms", stats->last_submission_ns, now_ns, out);
	put_number("reserved_bytes", stats->reserved, out);
	put_number("backed_bytes", stats->backed, out);
	put_number("backed_peak_bytes", stats->backed_peak, out);
	put_number("evicted_bytes", stats->evicted, out);
	put_number("spilled_bytes", stats->spilled, out);
	put_number("spare_bytes", stats->spare, out);
	put_number("native_bytes", stats->native, out);
	put_number("native_peak_bytes", stats->native_peak, out);
	put_number("host_budget_bytes", stats->host_budget, out);
	put_number("n_reservations", stats->n_reservations, out);
	put_number("n_static", stats->n_static, out);
	put_pages(process->pages_known, process->pages[KV_PAGE_EMPTY],
		process->pages[KV_PAGE_BACKED], process->pages[KV_PAGE_EVICTED],
		process->pages[KV_PAGE_SPILLED], out);
	put_counters(stats, out);
	fputs(",\"reservations\":[", out);
	for (uint32_t i = 0; i < KV_COORD_ROWS; i++) {
		if (!slot->rows[i].base)
			continue;
		if (!first)
			fputc(',', out);
		first = false;
		put_reservation(&slot->rows[i], now_ns, out);
	}
	fputc(']', out);
}

static void put_process(const struct kv_stat_process *process, uint64_t now_ns, FILE *out)
{
	static const char *const alive[] = {[KV_COORD_ALIVE] = "true",
		[KV_COORD_DEAD] = "false",
		[KV_COORD_ELSEWHERE] = "null"};

	fprintf(out, "{\"pid\":%d,\"slot\":%u,\"alive\":%s,", (int)process->slot.owner_pid,
		process->slot_index, alive[process->life]);
	put_text("problem", process->problem, out);
	if (!process->problem[0]) {
		fputc(',', out);
		put_known(process, now_ns, out);
	}
	fputc('}', out);
}

static void put_segment(const struct kv_stat_segment *segment, uint64_t now_ns, FILE *out)
{
	fputc('{', out);
	put_text("file", segment->path, out);
	fputc(',', out);
	put_text("problem", segment->problem, out);
	if (segment->problem[0]) {
		fputs(",\"gpu\":null,\"processes\":[]}", out);
		return;
	}
	fputs(",\"gpu\":{", out);
	put_text("uuid", segment->uuid, out);
	fputc(',', out);
	put_text("name", segment->gpu_name, out);
	put_number("total_bytes", segment->gpu_total, out);
	fputs("},\"processes\":[", out);
	for (uint32_t i = 0; i < segment->n_processes; i++) {
		if (i)
			fputc(',', out);
		put_process(&segment->processes[i], now_ns, out);
	}
	fputs("]}", out);
}

void kv_draw_json(const struct kv_stat *stat, FILE *out)
{
	fprintf(out, "{\"version\":%d,", SCHEMA_VERSION);
	put_text("directory", stat->directory, out);
	fputc(',', out);
	put_text("problem", stat->problem, out);
	fputs(",\"segments\":[", out);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		if (i)
			fputc(',', out);
		put_segment(&stat->segments[i], stat->now_ns, out);
	}
	fputs("]}\n", out);
}
