/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c - `kvshim doctor`: has everything looked at and tells it; the parts are in doctor_*.c.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/command/command.h"
#include "shim/command/finding.h"
#include "shim/json.h"

#define DRIVER_TIMEOUT_S 30
#define DRIVER_TIMEOUT_MAX_S 3600

static const char *const verdicts[] = {
	[KV_VERDICT_OK] = "ok", [KV_VERDICT_WARN] = "warn", [KV_VERDICT_FAIL] = "fail"};

struct kv_finding *kv_finding_add(struct kv_findings *findings, enum kv_verdict verdict,
	const char *topic, const char *format, ...)
{
	struct kv_finding *finding;
	va_list args;

	if (findings->n < KV_FINDINGS_MAX)
		findings->n++;
	finding = &findings->list[findings->n - 1];
	memset(finding, 0, sizeof(*finding));
	finding->verdict = verdict;
	snprintf(finding->topic, sizeof(finding->topic), "%s", topic);
	va_start(args, format);
	vsnprintf(finding->text, sizeof(finding->text), format, args);
	va_end(args);
	return finding;
}

void kv_finding_remedy(struct kv_finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(finding->remedy, sizeof(finding->remedy), format, args);
	va_end(args);
}

static void print_text(const struct kv_findings *findings)
{
	for (uint32_t i = 0; i < findings->n; i++) {
		const struct kv_finding *finding = &findings->list[i];

		printf("%-4s  %-9s  %s\n", verdicts[finding->verdict], finding->topic,
			finding->text);
		if (finding->remedy[0])
			printf("%17s%s\n", "", finding->remedy);
	}
}

static void print_json(const struct kv_findings *findings, enum kv_verdict worst)
{
	fputs("{", stdout);
	kv_json_member(stdout, "verdict", verdicts[worst]);
	fputs(",\"findings\":[", stdout);
	for (uint32_t i = 0; i < findings->n; i++) {
		const struct kv_finding *finding = &findings->list[i];

		fputs(i ? ",\n {" : "\n {", stdout);
		kv_json_member(stdout, "verdict", verdicts[finding->verdict]);
		putchar(',');
		kv_json_member(stdout, "topic", finding->topic);
		putchar(',');
		kv_json_member(stdout, "text", finding->text);
		putchar(',');
		kv_json_member(stdout, "remedy", finding->remedy[0] ? finding->remedy : NULL);
		putchar('}');
	}
	puts("]}");
}

static int examine(const struct kv_call *call, uint32_t timeout_ms)
{
	struct kv_findings *findings = calloc(1, sizeof(*findings));
	enum kv_verdict worst = KV_VERDICT_OK;
	uint32_t counts[3] = {0};

	if (!findings)
		return kv_command_fail(call, KV_EXIT_FAILED, "out of memory");
	kv_doctor_system(findings, kv_call_directory(call));
	kv_doctor_driver(findings, timeout_ms);
	kv_doctor_preloads(findings);
	if (call->n_operands)
		kv_doctor_reach(findings, call->operands);
	for (uint32_t i = 0; i < findings->n; i++) {
		counts[findings->list[i].verdict]++;
		if (findings->list[i].verdict > worst)
			worst = findings->list[i].verdict;
	}
	if (kv_call_value(call, "json")) {
		print_json(findings, worst);
	} else {
		print_text(findings);
		printf("\n%u ok, %u warnings, %u failures\n", counts[KV_VERDICT_OK],
			counts[KV_VERDICT_WARN], counts[KV_VERDICT_FAIL]);
	}
	free(findings);
	if (worst == KV_VERDICT_FAIL || (worst == KV_VERDICT_WARN && kv_call_value(call, "strict")))
		return KV_EXIT_FAILED;
	return KV_EXIT_OK;
}

static int check_rules(const struct kv_call *call, const char *rules)
{
	const char *with = kv_call_value(call, "with");

	if (call->n_operands)
		return kv_command_fail(call, KV_EXIT_ARGUMENTS, "--rules and one file, no command");
#ifdef KVSHIM_HAVE_DOCTOR
	return kv_doctor_rules(rules, with);
#else
	return kv_command_fail(call, KV_EXIT_FAILED, "%s%s: built without readers of kernels",
		rules, with ? " and --with" : "");
#endif
}

int kv_command_doctor(const struct kv_call *call)
{
	const char *rules = kv_call_value(call, "rules"), *text = kv_call_value(call, "timeout");
	long seconds = DRIVER_TIMEOUT_S;
	char *end;

	if (rules)
		return check_rules(call, rules);
	if (kv_call_value(call, "with"))
		return kv_command_fail(call, KV_EXIT_ARGUMENTS, "--with needs --rules ENGINE.so");
	if (text) {
		seconds = strtol(text, &end, 10);
		if (end == text || *end || seconds < 1 || seconds > DRIVER_TIMEOUT_MAX_S)
			return kv_command_fail(call, KV_EXIT_ARGUMENTS,
				"%.40s is no timeout: give seconds from 1 to %d", text,
				DRIVER_TIMEOUT_MAX_S);
	}
	return examine(call, (uint32_t)seconds * 1000u);
}
