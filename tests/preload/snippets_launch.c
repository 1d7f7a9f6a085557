/* SPDX-License-Identifier: Apache-2.0 */
/* snippets_launch.c - kernels and host functions on streams; see fixture.h. */
#include "fixture.h"

static void count_call(void *ctx)
{
	((struct fixture *)ctx)->calls++;
}

static void count_callback(CUstream stream, CUresult status, void *ctx)
{
	count_call(ctx);
}

static bool config(struct fixture *f)
{
	if (!prepare_reservation(f))
		return false;
	f->config = (CUlaunchConfig){1, 1, 1, 1, 1, 1, 0, f->stream, NULL, 0};
	f->launch_list[0] =
		(CUDA_LAUNCH_PARAMS){f->function, 1, 1, 1, 1, 1, 1, 0, f->stream, f->params};
	return true;
}

static bool no_calls(struct fixture *f)
{
	f->calls = 0;
	return true;
}

static bool called(struct fixture *f, CUresult result)
{
	return CHECK_OK(result) && fixture_finish(f) && CHECK(f->calls == 1);
}

/* clang-format off */
#define BOTH(X, symbol, prepare, arguments, check) \
	X(symbol, prepare, arguments, check) \
	X(symbol##_ptsz, prepare, arguments, check)

#define LIST(X) \
	BOTH(X, cuLaunchKernel, config, (f->function, 1, 1, 1, 1, 1, 1, 0, f->stream, f->params, NULL), check_whole) \
	BOTH(X, cuLaunchKernelEx, config, (&f->config, f->function, f->params, NULL), check_whole) \
	BOTH(X, cuLaunchCooperativeKernel, config, (f->function, 1, 1, 1, 1, 1, 1, 0, f->stream, f->params), check_whole) \
	X(cuLaunchCooperativeKernelMultiDevice, config, (f->launch_list, 1, 0), check_whole) \
	X(cuLaunch, config, (f->function), check_whole) \
	X(cuLaunchGrid, config, (f->function, 1, 1), check_whole) \
	X(cuLaunchGridAsync, config, (f->function, 1, 1, f->stream), check_whole) \
	BOTH(X, cuLaunchHostFunc, no_calls, (f->stream, count_call, f), called) \
	BOTH(X, cuStreamAddCallback, no_calls, (f->stream, count_callback, f, 0), called)
/* clang-format on */

SNIPPETS(snippets_launch, LIST)
