/* SPDX-License-Identifier: Apache-2.0 */
/* format.h - numbers and foreign text as people read them. Pure; each returns text. */
#ifndef KV_SHIM_STAT_FORMAT_H
#define KV_SHIM_STAT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define KV_TEXT 24

/* "1.5G" and the like: five characters at most, rounded down to a tenth; "?" for KV_UNKNOWN. */
const char *kv_format_size(uint64_t bytes, char text[KV_TEXT]);
/* "12.3k": at most five characters, powers of 1000; "?" for KV_UNKNOWN. */
const char *kv_format_count(uint64_t count, char text[KV_TEXT]);
/* Per second, as kv_format_count() with a tenth below 10; "?" below 0. */
const char *kv_format_rate(double rate, char text[KV_TEXT]);
/* "12s", "3m", "5h", "9d"; below ten seconds with a tenth; "-" for KV_UNKNOWN. */
const char *kv_format_age(uint64_t ms, char text[KV_TEXT]);
/* "850ns", "1.2us", "40ms", "2s"; "?" for KV_UNKNOWN. */
const char *kv_format_ns(uint64_t ns, char text[KV_TEXT]);
/* "2026-11-23T08:30:00Z" of nanoseconds since 1970. */
const char *kv_format_time(uint64_t wall_ns, char text[KV_TEXT]);
/* Names come from other processes: whatever is not printable ASCII becomes '?'. Cut to size. */
const char *kv_format_clean(const char *name, char *text, size_t size);

#endif
