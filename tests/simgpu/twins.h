/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twins.h - the families of host twins.
 *
 * Each family answers for the kernels whose names it knows and gives NULL for all others. A twin
 * runs in stream order on a worker thread of the software GPU; it keeps nothing between launches
 * except what it says it keeps.
 */
#ifndef SIM_TWINS_H
#define SIM_TWINS_H

#include "sim.h"

/* twins_ggml.c: the kernels of ggml's CUDA backend that write or read a KV cache. */
sim_twin_fn sim_twin_ggml(const char *kernel_name);

/* twins_micro.c: the kernels of the project's own micro programs. */
sim_twin_fn sim_twin_micro(const char *kernel_name);

#endif
