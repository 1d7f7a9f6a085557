/* SPDX-License-Identifier: Apache-2.0 */
/* view_json.c - kvshim-stat --json; docs/kvshim-stat.schema.json describes the result. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stat/view.h"

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

void kv_view_json_string(const char *text, FILE *out)
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
		kv_view_json_string(text, out);
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

/* Shares in 1/255 of each cell's pages; what is missing is empty. */
static void put_map(const struct kv_reservation_stats *row, FILE *out)
{
	static const char *const names[] = {
		"\"backed\":[", "\"evicted\":[", "\"spilled\":[", "\"dead\":["};
	char text[4 * (KV_STATS_CELLS * 4 + 16)], *at = text;

	/* by hand: 256 numbers per reservation are most of what is written */
	for (int part = 0; part < 4; part++) {
		/* 0 is what a process says that does not count it */
		if (part == 3 && !row->dead) {
			at = stpcpy(at, "\"dead\":null,");
			break;
		}
		at = stpcpy(at, names[part]);
		for (uint32_t i = 0; i < KV_STATS_CELLS; i++) {
			const struct kv_page_cell *cell = &row->map[i];
			const uint8_t shares[] = {
				cell->backed, cell->evicted, cell->spilled, cell->dead};
			uint8_t share = shares[part];

			if (share >= 100)
				*at++ = (char)('0' + share / 100);
			if (share >= 10)
				*at++ = (char)('0' + share / 10 % 10);
			*at++ = (char)('0' + share % 10);
			*at++ = ',';
		}
		at[-1] = ']';
		*at++ = ',';
	}
	fputs(",\"map\":{", out);
	fwrite(text, 1, (size_t)(at - text) - 1, out);
	fputc('}', out);
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
	fputc(',', out);
	put_text("rules", row->rules, out);
	if (row->dead)
		put_number("dead_bytes", row->dead, out);
	else
		fputs(",\"dead_bytes\":null", out);
	put_map(row, out);
	put_age("age_ms", row->created_ns, now_ns, out);
	fputc('}', out);
}

/* The table's fields of a scope: the gauges, or what is listed with the counters. */
static void put_values(enum kv_metric_scope scope, bool counters, const uint64_t *value, FILE *out)
{
	const char *comma = counters ? "" : ",";

	for (uint32_t i = 0; i < KV_METRICS; i++) {
		const struct kv_metric *metric = &kv_metrics[i];

		if (metric->scope != scope || (metric->kind != KV_KIND_GAUGE) != counters)
			continue;
		fprintf(out, "%s\"%s\":", comma, metric->name);
		if (value[metric->index] == KV_UNKNOWN)
			fputs("null", out);
		else
			fprintf(out, "%" PRIu64, value[metric->index]);
		comma = ",";
	}
}

/* null if there was no sample before. */
static void put_rates(const struct kv_stat_process *process, FILE *out)
{
	const char *comma = "";
	bool known = false;

	for (uint32_t i = 0; i < KV_PROCESS_METRICS; i++)
		known |= process->rate[i] >= 0;
	if (!known) {
		fputs("null", out);
		return;
	}
	fputc('{', out);
	for (uint32_t i = 0; i < KV_METRICS; i++) {
		const struct kv_metric *metric = &kv_metrics[i];

		if (metric->scope != KV_SCOPE_PROCESS || metric->kind != KV_KIND_COUNTER)
			continue;
		fprintf(out, "%s\"%s\":", comma, metric->name);
		if (process->rate[metric->index] < 0)
			fputs("null", out);
		else
			fprintf(out, "%.3f", process->rate[metric->index]);
		comma = ",";
	}
	fputc('}', out);
}

static void put_known(const struct kv_stat_process *process, uint64_t now_ns, FILE *out)
{
	put_text("name", process->name, out);
	put_number("uid", process->uid, out);
	fputc(',', out);
	put_text("user", process->user, out);
	fprintf(out, ",\"state\":\"%s\",", kv_stat_state_word(process->state));
	put_text("note", process->note, out);
	put_values(KV_SCOPE_PROCESS, false, process->value, out);
	put_pages(process->pages_known, process->pages[KV_PAGE_EMPTY],
		process->pages[KV_PAGE_BACKED], process->pages[KV_PAGE_EVICTED],
		process->pages[KV_PAGE_SPILLED], out);
	fputs(",\"counters\":{", out);
	put_values(KV_SCOPE_PROCESS, true, process->value, out);
	fputs("},\"rates\":", out);
	put_rates(process, out);
	fputs(",\"reservations\":[", out);
	for (uint32_t i = 0; i < process->n_rows; i++) {
		if (i)
			fputc(',', out);
		put_reservation(&process->rows[i], now_ns, out);
	}
	fputc(']', out);
}

static void put_process(const struct kv_stat_process *process, uint64_t now_ns, FILE *out)
{
	static const char *const alive[] = {[KV_COORD_ALIVE] = "true",
		[KV_COORD_DEAD] = "false",
		[KV_COORD_ELSEWHERE] = "null"};

	fprintf(out, "{\"pid\":%d,\"slot\":%u,\"alive\":%s,", (int)process->pid,
		process->slot_index, alive[process->life]);
	put_text("problem", process->problem, out);
	if (!process->problem[0]) {
		fputc(',', out);
		put_known(process, now_ns, out);
	}
	fputc('}', out);
}

static void put_decision(
	const struct kv_coord_decision *decision, uint32_t index, uint64_t now_ns, FILE *out)
{
	fprintf(out, "%s{\"number\":%" PRIu64, index ? "," : "", decision->number);
	put_age("ago_ms", decision->time_ns, now_ns, out);
	fprintf(out, ",\"requester_pid\":%d,\"victim_pid\":%d", (int)decision->requester_pid,
		(int)decision->victim_pid);
	put_number("bytes", decision->bytes, out);
	fprintf(out, ",\"reason\":\"%s\",", kv_stat_because(decision->reason));
	put_text("text", decision->text, out);
	fputc('}', out);
}

static void put_segment(const struct kv_stat_segment *segment, uint64_t now_ns, FILE *out)
{
	fputc('{', out);
	put_text("file", segment->path, out);
	fputc(',', out);
	put_text("problem", segment->problem, out);
	if (segment->problem[0]) {
		fputs(",\"gpu\":null,\"decisions\":[],\"processes\":[]}", out);
		return;
	}
	fputs(",\"gpu\":{", out);
	put_text("uuid", segment->uuid, out);
	fputc(',', out);
	put_text("name", segment->gpu_name, out);
	put_values(KV_SCOPE_GPU, false, segment->value, out);
	fputs(",\"counters\":{", out);
	put_values(KV_SCOPE_GPU, true, segment->value, out);
	fputs("}},\"decisions\":[", out);
	for (uint32_t i = 0; i < segment->n_decisions; i++)
		put_decision(&segment->decisions[i], i, now_ns, out);
	fputs("],\"processes\":[", out);
	for (uint32_t i = 0; i < segment->n_processes; i++) {
		if (i)
			fputc(',', out);
		put_process(&segment->processes[i], now_ns, out);
	}
	fputs("]}", out);
}

void kv_view_json(const struct kv_stat *stat, FILE *out)
{
	fprintf(out, "{\"version\":%d,", SCHEMA_VERSION);
	put_text("directory", stat->directory, out);
	fputc(',', out);
	put_text("problem", stat->problem, out);
	fputs(",\"segments\":[", out);
	for (uint32_t i = 0; i < stat->n_segments; i++) {
		if (i)
			fputc(',', out);
		put_segment(&stat->segments[i], stat->clock.now_ns, out);
	}
	fputs("]}\n", out);
}
