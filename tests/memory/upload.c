/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c - what it costs to back pages: driver calls, counted where they arrive, for one upload
 * of 1 GiB into a fresh reservation, and for the same after it was freed and allocated again.
 *
 * Runs itself: with no upload, with one, with two, and with two when all pages of a freed
 * reservation are kept as spares, not just the few of the default; what is printed are the
 * differences. The upload itself is one call.
 */
#include <cuda.h>

#include "tests/memory/rerun.h"

#define SIZE ((size_t)1 << 30)
#define PAGE ((size_t)2 << 20)
#define PAGES ((double)(SIZE / PAGE))

/* Driver calls per page that is backed: its memory and its mapping, or its mapping alone. What is
 * made once per run is in the fraction. */
#define BUDGET_FRESH 2.05
#define BUDGET_KEPT 1.05

static int must(CUresult res, const char *text)
{
	if (res != CUDA_SUCCESS)
		printf("FAILED: %s: %d\n", text, res);
	return res == CUDA_SUCCESS;
}
#define MUST(call) \
	do { \
		if (!must(call, #call)) \
			return 1; \
	} while (0)

static int run(int uploads)
{
	CUdeviceptr r;
	CUdevice device;
	CUcontext ctx;
	void *host = calloc(1, SIZE);

	if (!host)
		return 77;
	MUST(cuInit(0));
	MUST(cuDeviceGet(&device, 0));
	MUST(cuDevicePrimaryCtxRetain(&ctx, device));
	MUST(cuCtxSetCurrent(ctx));
	for (int i = 0; i < 2; i++) {
		MUST(cuMemAlloc(&r, SIZE));
		if (i < uploads)
			MUST(cuMemcpyHtoD(r, host, SIZE));
		MUST(cuMemFree(r));
	}
	MUST(cuDevicePrimaryCtxRelease(device));
	free(host);
	return 0;
}

static const char *const backing[] = {"cuMemCreate", "cuMemMap", "cuMemSetAccess",
	"cuMemsetD8Async", "cuStreamSynchronize", "cuEventRecord", "cuEventQuery",
	"cuMemGetInfo_v2", "cuMemAddressReserve", "cuCtxPushCurrent_v2", "cuCtxPopCurrent_v2"};
static const char *const giving_back[] = {"cuMemUnmap", "cuMemRelease", "cuMemAddressFree"};
/* Calls of our own stand between these, which cost next to nothing. */
static const char *const brackets[] = {"cuCtxGetCurrent", "cuThreadExchangeStreamCaptureMode"};
#define N(array) (sizeof(array) / sizeof(*(array)))

/* Runs with 0, 1, 2 uploads; with 1 and 2 when all pages are kept. */
enum { NONE, ONE, TWO, ONE_KEPT, TWO_KEPT, RUNS };
static char reports[RUNS][64 << 10];

static double per_page(const char *name, int with, int without)
{
	return ((double)calls_of(reports[with], name) - (double)calls_of(reports[without], name)) /
	       PAGES;
}

static void print_rows(const char *title, const char *const *names, size_t n, double *ret_sums)
{
	static const int columns[3][2] = {{ONE, NONE}, {TWO, ONE}, {TWO_KEPT, ONE_KEPT}};

	memset(ret_sums, 0, 3 * sizeof(*ret_sums));
	for (size_t k = 0; k < n; k++) {
		double calls[3];

		for (int c = 0; c < 3; c++) {
			calls[c] = per_page(names[k], columns[c][0], columns[c][1]);
			ret_sums[c] += calls[c];
		}
		if (calls[0] != 0 || calls[1] != 0 || calls[2] != 0)
			printf("  %-34s %8.3f %8.3f %8.3f\n", names[k], calls[0], calls[1],
				calls[2]);
	}
	printf("%-36s %8.3f %8.3f %8.3f\n", title, ret_sums[0], ret_sums[1], ret_sums[2]);
}

static bool make_reports(const char *self)
{
	static const char *const uploads[RUNS] = {"0", "1", "2", "1", "2"};

	for (int i = 0; i < RUNS; i++) {
		if (i == ONE_KEPT)
			setenv("KVSHIM_SPARE", "1G", 1);
		if (!rerun_report(self, uploads[i], reports[i], sizeof(reports[i])))
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	double sums[3], unused[3];

	if (argc > 2 && !strcmp(argv[1], "run"))
		return run(atoi(argv[2]));
	if (!make_reports(argv[0]))
		return 1;
	printf("driver calls per page of 2 MiB           fresh    again again, all kept\n");
	print_rows("backing", backing, N(backing), sums);
	print_rows("giving back", giving_back, N(giving_back), unused);
	print_rows("brackets around all of them", brackets, N(brackets), unused);
	if (sums[0] < 1)
		printf("FAILED: nothing was backed\n");
	if (sums[0] > BUDGET_FRESH || sums[2] > BUDGET_KEPT)
		printf("FAILED: more than %.2f fresh, or %.2f kept\n", BUDGET_FRESH, BUDGET_KEPT);
	return sums[0] < 1 || sums[0] > BUDGET_FRESH || sums[2] > BUDGET_KEPT;
}
