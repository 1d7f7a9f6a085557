/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - what went wrong, as lines at once and as JSON at exit. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_protos.h"
#include "entry.h"
#include "memory.h"

_Atomic uint64_t sim_reports[SIM_REPORTS];
_Atomic uint64_t sim_twin_runs, sim_bytes_compared;
static const char *const names[SIM_REPORTS] = {"VIOLATION", "FAULT", "MISMATCH", "LEAK"};

/* Lines of each kind that are printed; all are counted. */
#define MAX_LINES 50

static void append(const char *path, const char *text, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	if (write(fd, text, size) < 0)
		fprintf(stderr, "simgpu[%d] cannot write %s\n", (int)getpid(), path);
	close(fd);
}

/* One line into SIMGPU_LOG, and on stderr as well if loud. */
__attribute__((format(printf, 3, 0))) static void say(
	bool loud, const char *kind, const char *format, va_list args)
{
	char line[600];
	int used = snprintf(line, sizeof(line), "simgpu[%d] %s", (int)getpid(), kind);
	int more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, args);
	size_t size = (size_t)used + (size_t)(more < 0 ? 0 : more);

	if (size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	if (loud && write(STDERR_FILENO, line, size) < 0)
		return;
	const char *log = getenv("SIMGPU_LOG");
	if (log && *log)
		append(log, line, size);
}

void sim_report(enum sim_report kind, const char *format, ...)
{
	char name[16];
	va_list args;

	uint64_t n = atomic_fetch_add(&sim_reports[kind], 1);
	if (n >= MAX_LINES)
		return;
	snprintf(name, sizeof(name), "%s: ", names[kind]);
	va_start(args, format);
	say(true, name, format, args);
	va_end(args);
}

void sim_log(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(false, "", format, args);
	va_end(args);
}

static void leak_range(struct sim_range *range, void *arg)
{
	static const char *const kinds[] = {"address reservation", "allocation", "pool allocation",
		"managed allocation", "pinned host allocation", "registration of host memory"};
	if (range->internal)
		return;
	sim_report(SIM_LEAK, "%s of %llu bytes at 0x%llx%s", kinds[range->kind],
		(unsigned long long)range->size, (unsigned long long)range->base,
		range->manager ? " (of a manager)" : "");
}

static void leak_handle(struct sim_handle *handle)
{
	sim_report(SIM_LEAK,
		"handle 0x%llx of %llu bytes on device %d: %u references, %u mappings%s",
		(unsigned long long)handle->id, (unsigned long long)handle->extent.size,
		handle->extent.device, handle->refs, handle->mappings,
		handle->manager ? " (of a manager)" : "");
}

static void write_report(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	char name[4096];
	const char *pid = strstr(path, "%p");

	if (pid)
		snprintf(name, sizeof(name), "%.*s%d%s", (int)(pid - path), path, (int)getpid(),
			pid + 2);
	else
		snprintf(name, sizeof(name), "%s", path);
	FILE *f = open_memstream(&text, &size);
	if (!f)
		return;
	fprintf(f,
		"{\"pid\": %d, \"violations\": %llu, \"faults\": %llu, \"mismatches\": %llu, "
		"\"leaks\": %llu",
		(int)getpid(), (unsigned long long)sim_reports[SIM_VIOLATION],
		(unsigned long long)sim_reports[SIM_FAULT],
		(unsigned long long)sim_reports[SIM_MISMATCH],
		(unsigned long long)sim_reports[SIM_LEAK]);
	fprintf(f, ", \"twins\": %llu, \"bytes_compared\": %llu", (unsigned long long)sim_twin_runs,
		(unsigned long long)sim_bytes_compared);
	fprintf(f, ", \"pages_mapped\": %llu, \"devices\": [",
		(unsigned long long)sim_pages_mapped);
	for (int i = 0; i < sim_config.n_devices; i++)
		fprintf(f, "%s{\"total\": %llu, \"current\": %llu, \"peak\": %llu}", i ? ", " : "",
			(unsigned long long)sim_config.memory,
			(unsigned long long)sim_account_used(i),
			(unsigned long long)sim_account_peak(i));
	fprintf(f, "], \"calls\": {");
	const char *sep = "";
	for (int i = 0; i < SIM_ENTRIES; i++) {
		if (sim_calls[i]) {
			fprintf(f, "%s\"%s\": %llu", sep, sim_entries[i].name,
				(unsigned long long)sim_calls[i]);
			sep = ", ";
		}
	}
	fprintf(f, "}}\n");
	fclose(f);
	append(name, text, size);
	free(text);
}

void sim_report_exit(void)
{
	if (!sim_config.no_leaks) {
		/* Somebody may have been killed in the middle of a call: no lock. */
		sim_ranges_each(leak_range, NULL);
		sim_handles_each(leak_handle);
	}
	if (sim_config.report && *sim_config.report)
		write_report(sim_config.report);
	sim_account_close();
	for (int i = 0; i < SIM_REPORTS; i++) {
		if (sim_reports[i] && sim_config.strict_exit) {
			fflush(NULL);
			_exit(97);
		}
	}
}
