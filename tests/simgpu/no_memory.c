/* SPDX-License-Identifier: Apache-2.0 */
/*
 * no_memory.c - device memory for programs that read images and launch nothing: the twins that come
 * with the reader want it, and none runs.
 */
#include "sim.h"

bool sim_read(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return false;
}

bool sim_read_dead(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return false;
}

bool sim_read_ideal(const struct sim_call *call, uint64_t addr, void *buffer, size_t size)
{
	return false;
}

bool sim_write_ideal(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	return false;
}

bool sim_write(const struct sim_call *call, uint64_t addr, const void *buffer, size_t size)
{
	return false;
}

bool sim_probe(const struct sim_call *call, uint64_t addr, size_t size, bool write)
{
	return false;
}
