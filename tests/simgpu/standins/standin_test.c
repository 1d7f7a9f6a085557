/* SPDX-License-Identifier: Apache-2.0 */
/*
 * standin_test.c - the libcudart stand-in over a driver that remembers what it is asked.
 *
 * STANDIN_CUDART names the library under test; the fake driver has to be what the loader
 * finds as libcuda.so.1. Offsets are those of cudaDeviceProp and cudaFuncAttributes in CUDA 12
 * and 13.
 */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "fake/fake_driver.h"

static void *runtime;

static void open_runtime(void)
{
	runtime = dlopen(getenv("STANDIN_CUDART"), RTLD_NOW);
	cr_assert_not_null(runtime, "%s", dlerror());
}

static void *function(const char *name)
{
	void *found = dlsym(runtime, name);

	cr_assert_not_null(found, "no %s", name);
	return found;
}

TestSuite(standin, .init = open_runtime);

static int device_count(void)
{
	int (*get)(int *) = function("cudaGetDeviceCount");
	int count = -1;

	cr_assert_eq(get(&count), 0);
	return count;
}

static const struct fake_request *requests(unsigned *ret_n)
{
	void *fake = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
	cr_assert_not_null(fake, "the fake driver is not what was loaded");
	const struct fake_request *(*get)(unsigned *) = dlsym(fake, "fake_requests");
	cr_assert_not_null(get);
	return get(ret_n);
}

Test(standin, the_driver_is_resolved_through_the_resolver_that_was_asked_for)
{
	static const struct {
		const char *name;
		int version;
	} first[] = {{"", 0}, {"cuInit", 2000}, {"cuGetProcAddress", 11030},
		{"cuGetProcAddress", 12000}};
	unsigned n;

	cr_assert_eq(device_count(), 1);
	const struct fake_request *r = requests(&n);
	cr_assert_gt(n, 50);
	for (unsigned i = 0; i < n; i++) {
		if (i < 4) {
			cr_expect_str_eq(r[i].name, first[i].name);
			cr_expect_eq(r[i].version, first[i].version);
		}
		cr_expect_eq(r[i].through_first, i < 4, "%s", r[i].name);
		cr_expect_eq(r[i].flags, 0);
	}
}

Test(standin, registration_does_not_touch_the_driver)
{
	void **(*add)(void *) = function("__cudaRegisterFatBinary");
	void (*end)(void **) = function("__cudaRegisterFatBinaryEnd");
	static int wrapper;

	void **handle = add(&wrapper);
	cr_expect_not_null(handle);
	end(handle);
	cr_expect_null(dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD));
}

static void expect_int(const unsigned char *record, size_t at, int attribute)
{
	int value;

	memcpy(&value, record + at, sizeof(value));
	cr_expect_eq(value, FAKE_ATTRIBUTE + attribute, "offset %zu: %d", at, value);
}

Test(standin, device_properties_lie_where_programs_of_that_version_look)
{
	int (*get13)(void *, int) = dlsym(runtime, "cudaGetDeviceProperties");
	int (*get12)(void *, int) = dlsym(runtime, "cudaGetDeviceProperties_v2");
	bool is13 = get13;
	unsigned char record[1032];
	size_t total;

	memset(record, 0xee, sizeof(record));
	cr_assert_eq(is13 ? get13(record, 0) : get12(record, 0), 0);
	memcpy(&total, record + 288, sizeof(total));
	cr_expect_eq(total, FAKE_TOTAL);
	expect_int(record, 308, CU_DEVICE_ATTRIBUTE_WARP_SIZE);
	expect_int(record, 360, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
	expect_int(record, is13 ? 384 : 388, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
	expect_int(record, is13 ? 388 : 396, CU_DEVICE_ATTRIBUTE_INTEGRATED);
	expect_int(record, is13 ? 596 : 616, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
	expect_int(record, is13 ? 668 : 688, CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH);
	expect_int(record, is13 ? 672 : 696, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
	/* The reserved tail belongs to later versions and is left alone. */
	for (size_t i = 792; i < sizeof(record); i++)
		cr_assert_eq(record[i], 0xee, "byte %zu was written", i);
}

Test(standin, function_attributes_lie_where_programs_look)
{
	void **(*add)(void *) = function("__cudaRegisterFatBinary");
	void (*add_function)(void **, const char *, char *, const char *, int, void *, void *,
		void *, void *, int *) = function("__cudaRegisterFunction");
	int (*get)(void *, const void *) = function("cudaFuncGetAttributes");
	static int wrapper;
	static const char host;
	unsigned char record[144];

	memset(record, 0xee, sizeof(record));
	add_function(add(&wrapper), &host, NULL, "kernel", -1, NULL, NULL, NULL, NULL, NULL);
	cr_assert_eq(get(record, &host), 0);
	expect_int(record, 24, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
	expect_int(record, 28, CU_FUNC_ATTRIBUTE_NUM_REGS);
	expect_int(record, 44, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
	expect_int(record, 68, CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE);
	expect_int(record, 72, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
	for (size_t i = 76; i < sizeof(record); i++)
		cr_assert_eq(record[i], 0xee, "byte %zu was written", i);
}

Test(standin, errors_of_the_runtime_itself_are_reported_once)
{
	int (*copy)(void *, const void *, size_t, int, void *) = function("cudaMemcpyAsync");
	int (*attributes)(void *, const void *) = function("cudaFuncGetAttributes");
	int (*pop)(void *, void *, size_t *, void *) = function("__cudaPopCallConfiguration");
	int (*get)(void) = function("cudaGetLastError"),
	    (*peek)(void) = function("cudaPeekAtLastError");
	unsigned char record[144];
	size_t shared;

	cr_expect_eq(copy(record, record, 8, 9, NULL), 21);
	cr_expect_eq(peek(), 21);
	cr_expect_eq(get(), 21);
	cr_expect_eq(get(), 0);
	cr_expect_eq(attributes(record, record), 98);
	cr_expect_eq(pop(record, record, &shared, record), 52);
	cr_expect_eq(get(), 52);
}

Test(standin, empty_requests_never_reach_the_driver)
{
	int (*allocate)(void **, size_t) = function("cudaMalloc");
	int (*release)(void *) = function("cudaFree");
	int (*set)(void *, int, size_t) = function("cudaMemset");
	void *address = &address;

	cr_expect_eq(allocate(&address, 0), 0);
	cr_expect_null(address);
	cr_expect_eq(release(NULL), 0);
	cr_expect_eq(set(NULL, 0, 0), 0);
	cr_expect_null(dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD));
}
