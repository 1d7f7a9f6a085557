/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_driver.c - the driver and its devices, asked in a child process; see finding.h.
 *
 * The commands are built without CUDA headers, so the handful of calls is declared here; numbers
 * are those of cuda.h, where they never change.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim/command/finding.h"

#define DEVICES_MAX 16
#define TOPIC "driver"
#define KILL_MS 1000

enum {
	ERROR_STUB_LIBRARY = 34,
	ERROR_NO_DEVICE = 100,
	ERROR_SYSTEM_NOT_READY = 802,
	ERROR_DRIVER_MISMATCH = 803,
	ATTRIBUTE_COMPUTE_MODE = 20,
	ATTRIBUTE_MAJOR = 75,
	ATTRIBUTE_MINOR = 76,
	ATTRIBUTE_VMM = 102,
	ATTRIBUTE_HOST_NUMA_VMM = 141,
	COMPUTE_MODE_DEFAULT = 0,
	VERSION_OLDEST = 11000,
	VERSION_LAYOUTS = 12040, /* cuFuncGetParamInfo */
};

struct driver {
	int (*init)(unsigned flags);
	int (*version)(int *ret_version);
	int (*error_string)(int error, const char **ret_text);
	int (*count)(int *ret_count);
	int (*get)(int *ret_device, int ordinal);
	int (*name)(char *ret_name, int size, int device);
	int (*attribute)(int *ret_value, int which, int device);
	int (*total)(size_t *ret_bytes, int device);
	int (*can_peer)(int *ret_can, int device, int peer);
};

/* ---- in the child ---- */

static bool resolve(struct driver *driver, void *library, const char **ret_missing)
{
	const struct {
		const char *name;
		void *where;
	} wanted[] = {{"cuInit", &driver->init}, {"cuDriverGetVersion", &driver->version},
		{"cuGetErrorString", &driver->error_string}, {"cuDeviceGetCount", &driver->count},
		{"cuDeviceGet", &driver->get}, {"cuDeviceGetName", &driver->name},
		{"cuDeviceGetAttribute", &driver->attribute},
		{"cuDeviceTotalMem_v2", &driver->total},
		{"cuDeviceCanAccessPeer", &driver->can_peer}};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		void *symbol = dlsym(library, wanted[i].name);

		if (!symbol) {
			*ret_missing = wanted[i].name;
			return false;
		}
		memcpy(wanted[i].where, &symbol, sizeof(symbol));
	}
	return true;
}

static void explain_init(struct kv_findings *findings, const struct driver *driver, int error)
{
	const char *text = NULL;
	struct kv_finding *finding;

	if (driver->error_string(error, &text) || !text)
		text = "unknown error";
	finding = kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
		"the driver does not start: %s (%d)", text, error);
	if (error == ERROR_STUB_LIBRARY)
		kv_finding_remedy(finding,
			"take the toolkit's stubs directory out of LD_LIBRARY_PATH: a real "
			"libcuda.so.1 is needed at run time");
	else if (error == ERROR_NO_DEVICE)
		kv_finding_remedy(finding,
			"no GPU is visible: look at CUDA_VISIBLE_DEVICES, /dev/nvidia*, and in a "
			"container at --gpus");
	else if (error == ERROR_DRIVER_MISMATCH)
		kv_finding_remedy(finding,
			"libcuda.so.1 and the kernel module differ: reboot, or take a second "
			"libcuda.so.1 out of the image");
	else if (error == ERROR_SYSTEM_NOT_READY)
		kv_finding_remedy(finding, "start nvidia-fabricmanager, or wait for it");
	else
		kv_finding_remedy(finding, "nvidia-smi and dmesg tell more");
}

static void look_at_device(struct kv_findings *findings, const struct driver *driver, int ordinal)
{
	int device, vmm = 0, numa = 0, mode = 0, major = 0, minor = 0;
	char name[96] = "?";
	size_t total = 0;

	if (driver->get(&device, ordinal)) {
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "gpu",
					  "GPU %d cannot be opened", ordinal),
			"nvidia-smi and dmesg tell more");
		return;
	}
	driver->name(name, sizeof(name), device);
	driver->total(&total, device);
	driver->attribute(&major, ATTRIBUTE_MAJOR, device);
	driver->attribute(&minor, ATTRIBUTE_MINOR, device);
	driver->attribute(&vmm, ATTRIBUTE_VMM, device);
	driver->attribute(&mode, ATTRIBUTE_COMPUTE_MODE, device);
	if (driver->attribute(&numa, ATTRIBUTE_HOST_NUMA_VMM, device))
		numa = 0; /* a driver that does not know the question */
	if (vmm)
		kv_finding_add(findings, KV_VERDICT_OK, "gpu",
			"GPU %d: %s, %d.%d, %zu MiB, virtual memory management", ordinal, name,
			major, minor, total >> 20);
	else
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, "gpu",
					  "GPU %d: %s cannot map memory by pages", ordinal, name),
			"nothing helps: vGPU profiles and some virtual machines lack virtual "
			"memory "
			"management; kvshim stays out of the way there");
	if (vmm && !numa)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "gpu",
					  "GPU %d cannot map host memory by pages", ordinal),
			"leave KVSHIM_HOST_BUDGET at none: pages cannot be spilled; eviction and "
			"restore work");
	if (mode != COMPUTE_MODE_DEFAULT)
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_WARN, "gpu",
					  "GPU %d takes one process only (compute mode)", ordinal),
			"nvidia-smi -i %d -c DEFAULT lets several processes share it", ordinal);
}

static void look_at_peers(struct kv_findings *findings, const struct driver *driver, int count)
{
	int n = 0, can;

	if (count < 2)
		return;
	for (int a = 0; a < count; a++)
		for (int b = 0; b < count; b++)
			n += a != b && !driver->can_peer(&can, a, b) && can;
	if (n == count * (count - 1))
		kv_finding_add(
			findings, KV_VERDICT_OK, "gpu", "all %d GPUs reach each other", count);
	else
		kv_finding_add(findings, KV_VERDICT_OK, "gpu",
			"%d of %d pairs of GPUs reach each other directly; engines copy through "
			"the host otherwise",
			n, count * (count - 1));
}

static void look_at_version(
	struct kv_findings *findings, const struct driver *driver, void *library)
{
	struct link_map *map = NULL;
	struct kv_finding *finding;
	const char *path;
	int version = 0;

	path = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map ? map->l_name : "?";
	driver->version(&version);
	finding =
		kv_finding_add(findings, version < VERSION_OLDEST ? KV_VERDICT_FAIL : KV_VERDICT_OK,
			TOPIC, "CUDA %d.%d, %s%s", version / 1000, version % 1000 / 10, path,
			version >= VERSION_OLDEST && version < VERSION_LAYOUTS
				? "; older than 12.4: kernel parameters are read from the images"
				: "");
	if (version < VERSION_OLDEST)
		kv_finding_remedy(finding, "install a driver for CUDA 11 or newer");
}

static void ask(struct kv_findings *findings)
{
	struct driver driver = {0};
	const char *missing = NULL;
	int error, count = 0;
	void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);

	if (!library) {
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
					  "the loader finds no libcuda.so.1"),
			"install NVIDIA's driver; in a container start it with --gpus or the "
			"nvidia "
			"runtime class");
		return;
	}
	if (!resolve(&driver, library, &missing)) {
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				"libcuda.so.1 has no %s: it is no driver of NVIDIA's", missing),
			"find out who put it there: LD_DEBUG=libs kvshim doctor");
		return;
	}
	look_at_version(findings, &driver, library);
	error = driver.init(0);
	if (error) {
		explain_init(findings, &driver, error);
		return;
	}
	driver.count(&count);
	if (count < 1)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, "gpu", "no GPU is visible"),
			"look at CUDA_VISIBLE_DEVICES, and in a container at --gpus");
	for (int i = 0; i < count && i < DEVICES_MAX; i++)
		look_at_device(findings, &driver, i);
	look_at_peers(findings, &driver, count < DEVICES_MAX ? count : DEVICES_MAX);
}

static void be_child(int out)
{
	struct kv_findings *findings = calloc(1, sizeof(*findings));
	size_t size;
	char *at;

	/* A shim that is preloaded into this very command is not what is being asked about. */
	setenv("KVSHIM", "off", 1);
	if (!findings)
		_exit(1);
	ask(findings);
	at = (char *)findings->list;
	size = findings->n * sizeof(findings->list[0]);
	while (size) {
		ssize_t n = write(out, at, size);

		if (n < 0 && errno != EINTR)
			_exit(1);
		at += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	_exit(0); /* no exit handlers: some drivers hang in theirs */
}

/* ---- in the parent ---- */

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Until the end of the pipe. False: the time is up. */
static bool read_all(int in, uint8_t *at, size_t room, size_t *ret_size, uint64_t deadline_ms)
{
	struct pollfd ready = {.fd = in, .events = POLLIN};

	*ret_size = 0;
	while (*ret_size < room) {
		uint64_t now = now_ms();
		ssize_t n;

		if (now >= deadline_ms)
			return false;
		if (poll(&ready, 1, (int)(deadline_ms - now)) <= 0)
			continue;
		n = read(in, at + *ret_size, room - *ret_size);
		if (n == 0)
			return true;
		if (n < 0 && errno != EINTR)
			return true;
		*ret_size += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* False: the time is up. */
static bool wait_for(pid_t child, int *ret_status, uint64_t deadline_ms)
{
	const struct timespec pause = {.tv_nsec = 5000000};

	while (waitpid(child, ret_status, WNOHANG) == 0) {
		if (now_ms() >= deadline_ms)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static void take_over(struct kv_findings *findings, const struct kv_finding *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct kv_finding *finding = kv_finding_add(findings,
			list[i].verdict <= KV_VERDICT_FAIL ? (enum kv_verdict)list[i].verdict
							   : KV_VERDICT_FAIL,
			"", "%.*s", (int)sizeof(list[i].text) - 1, list[i].text);

		snprintf(finding->topic, sizeof(finding->topic), "%.*s",
			(int)sizeof(list[i].topic) - 1, list[i].topic);
		kv_finding_remedy(finding, "%.*s", (int)sizeof(list[i].remedy) - 1, list[i].remedy);
	}
}

static void explain_end(struct kv_findings *findings, bool in_time, int status, uint32_t timeout_ms)
{
	if (!in_time)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				"the driver has not answered for %u s", timeout_ms / 1000),
			"nvidia-smi hangs too? Reset the GPU or reboot; dmesg shows Xid errors");
	else if (WIFSIGNALED(status))
		kv_finding_remedy(kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
					  "the driver crashed (signal %d)", WTERMSIG(status)),
			"libcuda.so.1 and the kernel module may differ: reboot or reinstall the "
			"driver");
	else if (WEXITSTATUS(status) != 0)
		kv_finding_remedy(
			kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC,
				"the driver ended the process (exit %d)", WEXITSTATUS(status)),
			"nvidia-smi and dmesg tell more");
}

void kv_doctor_driver(struct kv_findings *findings, uint32_t timeout_ms)
{
	struct kv_finding *list = calloc(KV_FINDINGS_MAX, sizeof(*list));
	int ends[2], status = 0;
	uint64_t deadline_ms = now_ms() + timeout_ms;
	size_t size = 0;
	bool in_time;
	pid_t child;

	if (!list || pipe(ends) != 0) {
		kv_finding_add(findings, KV_VERDICT_FAIL, TOPIC, "cannot ask it: %s",
			strerror(list ? errno : ENOMEM));
		free(list);
		return;
	}
	fflush(stdout);
	child = fork();
	if (child == 0) {
		close(ends[0]);
		be_child(ends[1]);
	}
	close(ends[1]);
	if (child < 0) {
		kv_finding_add(
			findings, KV_VERDICT_FAIL, TOPIC, "cannot ask it: %s", strerror(errno));
	} else {
		in_time = read_all(ends[0], (uint8_t *)list, KV_FINDINGS_MAX * sizeof(*list), &size,
				  deadline_ms) &&
			  wait_for(child, &status, deadline_ms);
		/* Stuck in the kernel even SIGKILL waits: then nobody waits for it here. */
		if (!in_time && kill(child, SIGKILL) == 0)
			wait_for(child, &status, now_ms() + KILL_MS);
		take_over(findings, list, size / sizeof(*list));
		explain_end(findings, in_time, status, timeout_ms);
	}
	close(ends[0]);
	free(list);
}
