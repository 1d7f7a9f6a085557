/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_driver.c - a libcuda.so.1 that remembers what it is asked for, for the tests of the
 * stand-ins.
 *
 * It hands out two resolvers: the one that dlsym finds, and another as the answer for
 * "cuGetProcAddress", so that a test sees through which of them a name was asked. Device attributes
 * answer with their own number.
 */
#include <string.h>

#include "fake_driver.h"

#define EXPORT __attribute__((visibility("default")))

static struct fake_request requests[256];
static unsigned n_requests;

EXPORT const struct fake_request *fake_requests(unsigned *ret_n)
{
	*ret_n = n_requests;
	return requests;
}

static CUresult nothing(void)
{
	return CUDA_SUCCESS;
}

static CUresult get_count(int *count)
{
	*count = 1;
	return CUDA_SUCCESS;
}

static CUresult get_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	*value = FAKE_ATTRIBUTE + (int)attribute;
	return CUDA_SUCCESS;
}

static CUresult get_kernel_attribute(
	int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice device)
{
	*value = FAKE_ATTRIBUTE + (int)attribute;
	return CUDA_SUCCESS;
}

static CUresult get_kernel(CUkernel *kernel, CUlibrary library, const char *name)
{
	*kernel = (CUkernel)(uintptr_t)0x4000;
	return CUDA_SUCCESS;
}

static CUresult get_total(size_t *bytes, CUdevice device)
{
	*bytes = FAKE_TOTAL;
	return CUDA_SUCCESS;
}

static CUresult again(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status);

static CUresult answer(const char *name, void **ret, int version, int flags, bool through_first)
{
	static const struct {
		const char *name;
		void *function;
	} known[] = {{"cuGetProcAddress", (void *)again}, {"cuDeviceGetCount", (void *)get_count},
		{"cuDeviceGetAttribute", (void *)get_attribute},
		{"cuKernelGetAttribute", (void *)get_kernel_attribute},
		{"cuLibraryGetKernel", (void *)get_kernel},
		{"cuDeviceTotalMem", (void *)get_total}};

	if (n_requests < sizeof(requests) / sizeof(requests[0]))
		requests[n_requests++] = (struct fake_request){name, version, flags, through_first};
	*ret = *name ? (void *)nothing : NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i].name, name))
			*ret = known[i].function;
	return CUDA_SUCCESS;
}

static CUresult again(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	return answer(name, ret, version, (int)flags, false);
}

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **ret, int version, cuuint64_t flags,
	CUdriverProcAddressQueryResult *status)
{
	return answer(name, ret, version, (int)flags, true);
}
