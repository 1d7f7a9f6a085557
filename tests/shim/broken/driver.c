/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c - a libcuda.so.1 that is ill in the way that KV_BROKEN names:
 * hang, crash, exit, close (hangs with all its files closed), error=N (of cuInit), version=N,
 * novmm, nonuma, exclusive, nodevices, twins (two devices that do not reach each other).
 * For `kvshim doctor` alone; it has what that asks for and no more.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC visibility push(default)
int cuInit(unsigned flags);
int cuDriverGetVersion(int *ret_version);
int cuGetErrorString(int error, const char **ret_text);
int cuDeviceGetCount(int *ret_count);
int cuDeviceGet(int *ret_device, int ordinal);
int cuDeviceGetName(char *ret_name, int size, int device);
int cuDeviceGetAttribute(int *ret_value, int which, int device);
int cuDeviceTotalMem_v2(size_t *ret_bytes, int device);
int cuDeviceCanAccessPeer(int *ret_can, int device, int peer);

static const char *illness(void)
{
	const char *text = getenv("KV_BROKEN");

	return text ? text : "";
}

static int number(const char *name, int otherwise)
{
	size_t length = strlen(name);

	return strncmp(illness(), name, length) == 0 ? atoi(illness() + length) : otherwise;
}

int cuInit(unsigned flags)
{
	if (strcmp(illness(), "close") == 0)
		for (int fd = 0; fd < 1024; fd++)
			close(fd);
	if (strcmp(illness(), "hang") == 0 || strcmp(illness(), "close") == 0)
		for (;;)
			pause();
	if (strcmp(illness(), "crash") == 0)
		abort();
	if (strcmp(illness(), "exit") == 0)
		_exit(3);
	return number("error=", 0);
}

int cuDriverGetVersion(int *ret_version)
{
	*ret_version = number("version=", 13000);
	return 0;
}

int cuGetErrorString(int error, const char **ret_text)
{
	*ret_text = error == 100 ? "no CUDA-capable device is detected" : NULL;
	return error == 100 ? 0 : 1;
}

int cuDeviceGetCount(int *ret_count)
{
	*ret_count = strcmp(illness(), "nodevices") == 0 ? 0
		     : strcmp(illness(), "twins") == 0   ? 2
							 : 1;
	return 0;
}

int cuDeviceGet(int *ret_device, int ordinal)
{
	*ret_device = ordinal;
	return 0;
}

int cuDeviceGetName(char *ret_name, int size, int device)
{
	snprintf(ret_name, (size_t)size, "Patient");
	return 0;
}

int cuDeviceGetAttribute(int *ret_value, int which, int device)
{
	switch (which) {
	case 102:
		*ret_value = strcmp(illness(), "novmm") != 0;
		return 0;
	case 141:
		*ret_value = strcmp(illness(), "nonuma") != 0;
		return 0;
	case 20:
		*ret_value = strcmp(illness(), "exclusive") == 0 ? 3 : 0;
		return 0;
	default:
		*ret_value = 9;
		return 0;
	}
}

int cuDeviceTotalMem_v2(size_t *ret_bytes, int device)
{
	*ret_bytes = (size_t)1 << 30;
	return 0;
}

int cuDeviceCanAccessPeer(int *ret_can, int device, int peer)
{
	*ret_can = 0;
	return 0;
}
