/* SPDX-License-Identifier: Apache-2.0 */
/* test_entry.c - look-ups, versions, provoked failures, what is reported at exit. */
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "simtest.h"

static void *symbol(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

static void *lookup(const char *name, int version, cuuint64_t flags)
{
	void *address = NULL;
	CUdriverProcAddressQueryResult status;

	ok(cuGetProcAddress_v2(name, &address, version, flags, &status));
	cr_assert_eq(!address, status != CU_GET_PROC_ADDRESS_SUCCESS);
	return address;
}

Test(entry, the_version_picks_the_abi)
{
	cr_assert_eq(lookup("cuMemAlloc", 2000, 0), symbol("cuMemAlloc"));
	cr_assert_eq(lookup("cuMemAlloc", 3020, 0), symbol("cuMemAlloc_v2"));
	cr_assert_eq(lookup("cuMemAlloc", 99999, 0), symbol("cuMemAlloc_v2"));
	cr_assert_eq(lookup("cuMemAlloc", -1, 0), symbol("cuMemAlloc_v2"));
	cr_assert_eq(lookup("cuGetProcAddress", 11030, 0), symbol("cuGetProcAddress"));
	cr_assert_eq(lookup("cuGetProcAddress", 12000, 0), symbol("cuGetProcAddress_v2"));
	cr_assert_eq(lookup("cuCtxCreate", 12050, 0), symbol("cuCtxCreate_v4"));
	cr_assert_eq(lookup("cuGraphInstantiate", 12000, 0), symbol("cuGraphInstantiateWithFlags"));
	cr_assert_eq(lookup("cuMemcpyBatchAsync", 12080, 0), symbol("cuMemcpyBatchAsync"));
	cr_assert_eq(lookup("cuMemcpyBatchAsync", 13000, 2), symbol("cuMemcpyBatchAsync_v2_ptsz"));
}

Test(entry, the_flag_asks_for_the_per_thread_variant)
{
	cr_assert_eq(lookup("cuLaunchKernel", 7000, 2), symbol("cuLaunchKernel_ptsz"));
	cr_assert_eq(lookup("cuLaunchKernel", 7000, 3), symbol("cuLaunchKernel_ptsz"));
	cr_assert_eq(lookup("cuLaunchKernel", 4000, 1), symbol("cuLaunchKernel"));
	cr_assert_eq(lookup("cuMemcpyHtoD", 7000, 2), symbol("cuMemcpyHtoD_v2_ptds"));
	cr_assert_eq(lookup("cuMemAlloc", 7000, 2), symbol("cuMemAlloc_v2"));
	cr_assert_null(lookup("cuLaunchKernel", 6000, 2));
}

Test(entry, the_two_versions_of_the_resolver_fail_differently)
{
	CUdriverProcAddressQueryResult status;
	void *address = &status;

	ok(cuGetProcAddress_v2("cuNoSuchThing", &address, 12000, 0, &status));
	cr_assert_null(address);
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	ok(cuGetProcAddress_v2("cuMemAlloc_v2", &address, 12000, 0, &status));
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	ok(cuGetProcAddress_v2("cuLaunchKernelEx", &address, 11000, 0, &status));
	cr_assert_eq(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	ok(cuGetProcAddress_v2("", &address, 0, 0, NULL));
	cr_assert_null(address);
	address = &status;
	fails(CUDA_ERROR_INVALID_VALUE, cuGetProcAddress_v2("cuInit", &address, 2000, 4, &status));
	fails(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuNoSuchThing", &address, 11030, 0));
	cr_assert_eq(address, (void *)&status);
}

Test(entry, an_old_driver_does_not_know_new_names)
{
	int version;

	setenv("SIMGPU_DRIVER_VERSION", "12020", 1);
	ok(cuDriverGetVersion(&version));
	cr_assert_eq(version, 12020);
	cr_assert_null(lookup("cuMemcpyBatchAsync", 13000, 0));
	cr_assert_eq(lookup("cuMemPrefetchAsync", 13000, 0), symbol("cuMemPrefetchAsync_v2"));
	start();
	size_t offset;
	fails(CUDA_ERROR_NOT_SUPPORTED, cuFuncGetParamInfo(kernel("micro_fill"), 0, &offset, NULL));
}

Test(entry, parameter_layouts_and_names)
{
	size_t offset, size;
	const char *name;

	start();
	CUfunction function = kernel("micro_fill");
	ok(cuFuncGetName(&name, function));
	cr_assert_str_eq(name, "micro_fill");
	ok(cuFuncGetParamInfo(function, 2, &offset, &size));
	cr_assert_eq(offset, 12);
	cr_assert_eq(size, 4);
	fails(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(function, 3, &offset, &size));
}

Test(entry, the_nth_call_fails_on_request)
{
	CUdeviceptr a;

	setenv("SIMGPU_FAIL", "cuMemAlloc_v2:2,cuMemFree_v2:0:999", 1);
	start();
	ok(cuMemAlloc_v2(&a, 16));
	fails(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&a, 16));
	ok(cuMemAlloc_v2(&a, 16));
	fails(CUDA_ERROR_UNKNOWN, cuMemFree_v2(a));
}

Test(entry, every_nth_call_fails_on_request_and_is_logged)
{
	char path[] = "/tmp/simgpu-log-XXXXXX", text[256];
	int fd = mkstemp(path);
	CUdeviceptr a;
	ssize_t n;

	cr_assert_geq(fd, 0);
	setenv("SIMGPU_FAIL", "cuMemAlloc_v2:%2", 1);
	setenv("SIMGPU_LOG", path, 1);
	start();
	for (int i = 0; i < 2; i++) {
		ok(cuMemAlloc_v2(&a, 16));
		fails(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc_v2(&a, 16));
	}
	n = read(fd, text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	cr_assert(strstr(text, "INJECTED: call 2 of cuMemAlloc_v2 fails with 2"));
	cr_assert(strstr(text, "INJECTED: call 4 of cuMemAlloc_v2"));
	close(fd);
	unlink(path);
}

Test(entry, what_is_not_implemented_says_so)
{
	CUarray array;
	CUDA_ARRAY_DESCRIPTOR desc = {.Width = 1, .NumChannels = 1, .Format = CU_AD_FORMAT_FLOAT};

	start();
	fails(CUDA_ERROR_NOT_SUPPORTED, cuArrayCreate_v2(&array, &desc));
}

/* Runs the body in a child that ends by exit(): *text is what it reported. */
static int child_status(void (*body)(void), char *text, size_t size)
{
	char path[] = "/tmp/simgpu-report-XXXXXX";
	int fd = mkstemp(path), status;

	cr_assert_geq(fd, 0);
	pid_t child = fork();
	if (!child) {
		setenv("SIMGPU_REPORT", path, 1);
		setenv("SIMGPU_STRICT_EXIT", "1", 1);
		unsetenv("SIMGPU_NO_LEAKS");
		body();
		exit(0);
	}
	waitpid(child, &status, 0);
	ssize_t n = read(fd, text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(fd);
	unlink(path);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void tidy(void)
{
	CUdeviceptr a;

	start();
	ok(cuMemAlloc_v2(&a, 3 * MIB));
	ok(cuMemFree_v2(a));
	ok(cuDevicePrimaryCtxRelease_v2(0));
}

static void leaky(void)
{
	start();
	reserve(1, 1);
}

static void wrong(void)
{
	start();
	cuMemFree_v2(4096);
	ok(cuDevicePrimaryCtxRelease_v2(0));
}

static void faulty(void)
{
	start();
	launch_fill(4096, 1, 1, NULL);
	cuCtxSynchronize();
	ok(cuDevicePrimaryCtxRelease_v2(0));
}

Test(entry, a_tidy_program_ends_as_it_wants_and_is_counted)
{
	char text[8192];

	cr_assert_eq(child_status(tidy, text, sizeof(text)), 0);
	cr_assert(
		strstr(text, "\"violations\": 0, \"faults\": 0, \"mismatches\": 0, \"leaks\": 0"));
	cr_assert(strstr(text, "\"current\": 0, \"peak\": 3145728"));
	cr_assert(strstr(text, "\"cuMemAlloc_v2\": 1"));
}

Test(entry, memory_left_at_exit_is_a_leak)
{
	char text[8192];

	cr_assert_eq(child_status(leaky, text, sizeof(text)), 97);
	/* The reservation and the handle behind it. */
	cr_assert(strstr(text, "\"leaks\": 2"));
}

Test(entry, a_violation_or_a_fault_changes_the_exit_status)
{
	char text[8192];

	cr_assert_eq(child_status(wrong, text, sizeof(text)), 97);
	cr_assert(strstr(text, "\"violations\": 1"));
	cr_assert_eq(child_status(faulty, text, sizeof(text)), 97);
	cr_assert(strstr(text, "\"faults\": 1"));
}

static double milliseconds(CUdeviceptr *ret)
{
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	ok(cuMemAlloc_v2(ret, MIB));
	clock_gettime(CLOCK_MONOTONIC, &after);
	return (after.tv_sec - before.tv_sec) * 1e3 +
	       (double)(after.tv_nsec - before.tv_nsec) / 1e6;
}

/* Never that anything is quick enough: only that it takes at least so long. */
Test(entry, a_call_takes_the_time_that_is_set_for_it)
{
	CUdeviceptr p;

	setenv("SIMGPU_CALL_NS", "cuMemFree_v2:20000,cuNoSuchCall:1,cuMemAlloc_v2:40000000,", 1);
	start();
	for (int i = 0; i < 2; i++) {
		cr_assert_geq(milliseconds(&p), 40);
		ok(cuMemFree_v2(p));
	}
}

Test(entry, devices_look_as_the_environment_says)
{
	CUuuid one, two;
	char name[64];
	size_t total;
	int n, major;

	setenv("SIMGPU_DEVICES", "3", 1);
	setenv("SIMGPU_MEMORY", "6G", 1);
	setenv("SIMGPU_CC", "12.0", 1);
	ok(cuInit(0));
	ok(cuDeviceGetCount(&n));
	cr_assert_eq(n, 3);
	ok(cuDeviceTotalMem_v2(&total, 2));
	cr_assert_eq(total, 6ull << 30);
	ok(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
	cr_assert_eq(major, 12);
	ok(cuDeviceGetName(name, sizeof(name), 0));
	ok(cuDeviceGetUuid_v2(&one, 0));
	ok(cuDeviceGetUuid_v2(&two, 1));
	cr_assert_neq(memcmp(&one, &two, sizeof(one)), 0);
	fails(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetName(name, sizeof(name), 3));
}
