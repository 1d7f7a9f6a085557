/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - how much memory there is: engines size their caches by it.
 */
#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/history.h"
#include "hooks/query.h"

/*
 * The driver's figure counts what is not used at this instant. What reservations were promised and
 * do not use yet is not free for anybody; pages kept for reuse are.
 */
static uint64_t free_for_program(struct kv_device *device, uint64_t free_bytes)
{
	uint64_t unbacked = kv_space_unbacked(device->space);
	struct kv_process_stats stats = {0};

	kv_space_stats(device->space, &stats);
	free_bytes += stats.spare;
	return free_bytes > unbacked ? free_bytes - unbacked : 0;
}

CUresult kv_info(PFN_cuMemGetInfo_v3020 real, size_t *free_bytes, size_t *total)
{
	size_t driver_free = 0, driver_total = 0;
	struct kv_device *device;
	CUresult res;

	if (!kv_hooks_active() || kv_thread.depth)
		return real(free_bytes, total);
	kv_free_deferred();
	res = real(&driver_free, &driver_total);
	if (res != CUDA_SUCCESS)
		return res;
	if (!kv_hooks.config.report_raw_memory) {
		device = kv_device_current();
		if (device)
			driver_free = free_for_program(device, driver_free);
	}
	kv_history_info(driver_free);
	if (free_bytes)
		*free_bytes = driver_free;
	if (total)
		*total = driver_total;
	return CUDA_SUCCESS;
}
