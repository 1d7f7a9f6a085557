/* SPDX-License-Identifier: Apache-2.0 */
/*
 * finding.h - what `kvshim doctor` has found: a list that its parts add to. One thread.
 *
 * A finding is of fixed size, so that a child process can write whole ones into a pipe.
 */
#ifndef KV_SHIM_COMMAND_FINDING_H
#define KV_SHIM_COMMAND_FINDING_H

#include <stdbool.h>
#include <stdint.h>

#define KV_FINDINGS_MAX 96u

enum kv_verdict {
	KV_VERDICT_OK = 0,
	KV_VERDICT_WARN = 1, /* it works, with less than could be had */
	KV_VERDICT_FAIL = 2, /* it does not work */
};

struct kv_finding {
	uint32_t verdict; /* enum kv_verdict */
	char topic[12];
	char text[320];
	char remedy[320]; /* "" for KV_VERDICT_OK */
};

struct kv_findings {
	struct kv_finding list[KV_FINDINGS_MAX];
	uint32_t n;
};

/* Adds one, with an empty remedy. The last place is overwritten once all are taken. */
struct kv_finding *kv_finding_add(struct kv_findings *findings, enum kv_verdict verdict,
	const char *topic, const char *format, ...) __attribute__((format(printf, 4, 5)));
void kv_finding_remedy(struct kv_finding *finding, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- the parts; none of them runs the command or changes anything ---- */

/* Options, library, shared directory, segments, limits of this process, container. */
void kv_doctor_system(struct kv_findings *findings, const char *directory);
/*
 * The driver and its devices, asked in a child process that is given so many milliseconds: a driver
 * that hangs, crashes or ends the process is a finding.
 */
void kv_doctor_driver(struct kv_findings *findings, uint32_t timeout_ms);
/* Will a preload reach this command (argv)? Its file, interpreter, rights and other preloads. */
void kv_doctor_reach(struct kv_findings *findings, char *const *argv);
/* Preloads that are in the environment and in /etc/ld.so.preload already. */
void kv_doctor_preloads(struct kv_findings *findings);

#endif
