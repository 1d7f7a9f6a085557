/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - how much memory there is: engines size their caches by it.
 */
#include "core/report.h"
#include "hooks/alloc.h"
#include "hooks/call.h"
#include "hooks/device.h"
#include "hooks/history.h"
#include "hooks/query.h"

/* With a fixed budget: a device of that size, of which this process has what it asked for. */
static void report_budget(struct kv_device *device, uint64_t budget, size_t *bytes, size_t *total)
{
	struct kv_process_stats stats;
	uint64_t own;

	kv_space_stats(device->space, &stats);
	own = stats.reserved + stats.native;
	if (budget < *total)
		*total = budget;
	*bytes = own < *total ? *total - own : 0;
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
		if (device && kv_hooks.config.report_budget)
			report_budget(
				device, kv_hooks.config.report_budget, &driver_free, &driver_total);
		else if (device)
			driver_free = kv_space_report(device->space, driver_free, driver_total);
	}
	kv_history_info(driver_free);
	if (free_bytes)
		*free_bytes = driver_free;
	if (total)
		*total = driver_total;
	return CUDA_SUCCESS;
}
