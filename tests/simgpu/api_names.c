/* SPDX-License-Identifier: Apache-2.0 */
/* What gen_api.py reads: every version of every entry point of the driver API. */
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <cudaTypedefs.h>
#include <cudaProfiler.h>
#include <cudaProfilerTypedefs.h>
