/* SPDX-License-Identifier: Apache-2.0 */
/* format.c - see format.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "stat/format.h"
#include "stat/metrics.h"

/* whole and tenth of a number in a unit; the tenth only where there is room for it */
static void put_tenths(uint64_t tenths, const char *unit, char text[KV_TEXT])
{
	if (tenths < 100 && tenths % 10)
		snprintf(text, KV_TEXT, "%llu.%llu%s", (unsigned long long)tenths / 10,
			(unsigned long long)tenths % 10, unit);
	else
		snprintf(text, KV_TEXT, "%llu%s", (unsigned long long)tenths / 10, unit);
}

const char *kv_format_size(uint64_t bytes, char text[KV_TEXT])
{
	static const char *const units[] = {"", "K", "M", "G", "T", "P", "E"};
	int unit = 0;

	if (bytes == KV_UNKNOWN) {
		strcpy(text, "?");
		return text;
	}
	while (unit < 6 && bytes >> (10 * (unit + 1)))
		unit++;
	if (unit == 0)
		snprintf(text, KV_TEXT, "%llu", (unsigned long long)bytes);
	else
		put_tenths((bytes >> (10 * (unit - 1))) * 10 >> 10, units[unit], text);
	return text;
}

const char *kv_format_count(uint64_t count, char text[KV_TEXT])
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
	uint64_t scale = 1;
	int unit = 0;

	if (count == KV_UNKNOWN) {
		strcpy(text, "?");
		return text;
	}
	while (unit < 6 && count / scale >= 10000) {
		scale *= 1000;
		unit++;
	}
	if (unit == 0)
		snprintf(text, KV_TEXT, "%llu", (unsigned long long)count);
	else
		put_tenths(count / (scale / 10), units[unit], text);
	return text;
}

const char *kv_format_rate(double rate, char text[KV_TEXT])
{
	if (rate < 0)
		strcpy(text, "?");
	else if (rate > 0 && rate < 10)
		put_tenths((uint64_t)(rate * 10 + 0.5), "", text);
	else
		kv_format_count((uint64_t)(rate + 0.5), text);
	return text;
}

const char *kv_format_age(uint64_t ms, char text[KV_TEXT])
{
	uint64_t seconds = ms / 1000;

	if (ms == KV_UNKNOWN)
		strcpy(text, "-");
	else if (ms < 10000)
		put_tenths(ms / 100, "s", text);
	else if (seconds < 120)
		snprintf(text, KV_TEXT, "%llus", (unsigned long long)seconds);
	else if (seconds < 7200)
		snprintf(text, KV_TEXT, "%llum", (unsigned long long)seconds / 60);
	else if (seconds < 172800)
		snprintf(text, KV_TEXT, "%lluh", (unsigned long long)seconds / 3600);
	else
		snprintf(text, KV_TEXT, "%llud", (unsigned long long)seconds / 86400);
	return text;
}

const char *kv_format_ns(uint64_t ns, char text[KV_TEXT])
{
	if (ns == KV_UNKNOWN)
		strcpy(text, "?");
	else if (ns < 1000)
		snprintf(text, KV_TEXT, "%lluns", (unsigned long long)ns);
	else if (ns < 1000000)
		put_tenths(ns / 100, "us", text);
	else if (ns < 1000000000)
		put_tenths(ns / 100000, "ms", text);
	else
		put_tenths(ns / 100000000, "s", text);
	return text;
}

const char *kv_format_time(uint64_t wall_ns, char text[KV_TEXT])
{
	time_t seconds = (time_t)(wall_ns / 1000000000);
	struct tm parts;

	gmtime_r(&seconds, &parts);
	strftime(text, KV_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts);
	return text;
}

const char *kv_format_clean(const char *name, char *text, size_t size)
{
	size_t length = strnlen(name, size - 1);

	for (size_t i = 0; i < length; i++)
		text[i] = (unsigned char)name[i] < 0x20 || (unsigned char)name[i] >= 0x7f ? '?'
											  : name[i];
	text[length] = '\0';
	return text;
}
