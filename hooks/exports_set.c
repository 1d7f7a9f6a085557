/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exports_set.c - the driver's names of all sets.
 */
#include "hooks/call.h"
#include "hooks/copy.h"
#include "hooks/exports.h"

#define WAY(symbol, s, is_async, is_per_thread) \
	{ \
		.stream = (s), .async = (is_async), .per_thread = (is_per_thread), .by = #symbol \
	}

#define SET(symbol, type, bytes, member, is_per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr dst, type value, size_t n) \
	{ \
		return kv_set(&(struct kv_set){ \
			.way = WAY(symbol, NULL, false, is_per_thread), \
			.dst = dst, \
			.value = value, \
			.element = (bytes), \
			.width = n, \
			.height = 1, \
			.real.member = KV_REAL(symbol), \
		}); \
	}

#define SET_ASYNC(symbol, type, bytes, member, is_per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr dst, type value, size_t n, CUstream stream) \
	{ \
		return kv_set(&(struct kv_set){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.dst = dst, \
			.value = value, \
			.element = (bytes), \
			.width = n, \
			.height = 1, \
			.real.member = KV_REAL(symbol), \
		}); \
	}

#define SET_2D(symbol, type, bytes, member, is_per_thread) \
	CUresult CUDAAPI symbol( \
		CUdeviceptr dst, size_t row_pitch, type value, size_t n, size_t rows) \
	{ \
		return kv_set(&(struct kv_set){ \
			.way = WAY(symbol, NULL, false, is_per_thread), \
			.dst = dst, \
			.pitch = row_pitch, \
			.value = value, \
			.element = (bytes), \
			.width = n, \
			.height = rows, \
			.is_2d = true, \
			.real.member = KV_REAL(symbol), \
		}); \
	}

#define SET_2D_ASYNC(symbol, type, bytes, member, is_per_thread) \
	CUresult CUDAAPI symbol(CUdeviceptr dst, size_t row_pitch, type value, size_t n, \
		size_t rows, CUstream stream) \
	{ \
		return kv_set(&(struct kv_set){ \
			.way = WAY(symbol, stream, true, is_per_thread), \
			.dst = dst, \
			.pitch = row_pitch, \
			.value = value, \
			.element = (bytes), \
			.width = n, \
			.height = rows, \
			.is_2d = true, \
			.real.member = KV_REAL(symbol), \
		}); \
	}

SET(cuMemsetD8_v2, unsigned char, 1, d8, false)
SET(cuMemsetD8_v2_ptds, unsigned char, 1, d8, true)
SET(cuMemsetD16_v2, unsigned short, 2, d16, false)
SET(cuMemsetD16_v2_ptds, unsigned short, 2, d16, true)
SET(cuMemsetD32_v2, unsigned int, 4, d32, false)
SET(cuMemsetD32_v2_ptds, unsigned int, 4, d32, true)

SET_ASYNC(cuMemsetD8Async, unsigned char, 1, d8_async, false)
SET_ASYNC(cuMemsetD8Async_ptsz, unsigned char, 1, d8_async, true)
SET_ASYNC(cuMemsetD16Async, unsigned short, 2, d16_async, false)
SET_ASYNC(cuMemsetD16Async_ptsz, unsigned short, 2, d16_async, true)
SET_ASYNC(cuMemsetD32Async, unsigned int, 4, d32_async, false)
SET_ASYNC(cuMemsetD32Async_ptsz, unsigned int, 4, d32_async, true)

SET_2D(cuMemsetD2D8_v2, unsigned char, 1, d2d8, false)
SET_2D(cuMemsetD2D8_v2_ptds, unsigned char, 1, d2d8, true)
SET_2D(cuMemsetD2D16_v2, unsigned short, 2, d2d16, false)
SET_2D(cuMemsetD2D16_v2_ptds, unsigned short, 2, d2d16, true)
SET_2D(cuMemsetD2D32_v2, unsigned int, 4, d2d32, false)
SET_2D(cuMemsetD2D32_v2_ptds, unsigned int, 4, d2d32, true)

SET_2D_ASYNC(cuMemsetD2D8Async, unsigned char, 1, d2d8_async, false)
SET_2D_ASYNC(cuMemsetD2D8Async_ptsz, unsigned char, 1, d2d8_async, true)
SET_2D_ASYNC(cuMemsetD2D16Async, unsigned short, 2, d2d16_async, false)
SET_2D_ASYNC(cuMemsetD2D16Async_ptsz, unsigned short, 2, d2d16_async, true)
SET_2D_ASYNC(cuMemsetD2D32Async, unsigned int, 4, d2d32_async, false)
SET_2D_ASYNC(cuMemsetD2D32Async_ptsz, unsigned int, 4, d2d32_async, true)
