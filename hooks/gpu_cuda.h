/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gpu_cuda.h - core's gpu_ops over the real driver; gpu is a struct kv_device.
 */
#ifndef KV_HOOKS_GPU_CUDA_H
#define KV_HOOKS_GPU_CUDA_H

#include "core/gpu_ops.h"

extern const struct kv_gpu_ops kv_gpu_cuda;

#endif
