/* SPDX-License-Identifier: Apache-2.0 */
/*
 * properties.c - what a device is, as the libcudart stand-in tells it.
 *
 * cudaDeviceProp lost eight fields from CUDA 12 to 13, so all that follows them moved; a program
 * built for one reads nonsense from the other. The reserved tail is never written: later minor
 * versions give parts of it a meaning.
 */
#include <pthread.h>
#include <string.h>

#include "exports.h"

#if STANDIN_MAJOR >= 13
#define UNTIL_12(field)
#else
#define UNTIL_12(field) field
#endif

struct rt_properties {
	char name[256];
	CUuuid uuid;
	char luid[8];
	unsigned luid_mask;
	size_t total, shared_per_block;
	int registers_per_block, warp;
	size_t pitch;
	int threads_per_block, block[3], grid[3];
	UNTIL_12(int clock;)
	size_t constant;
	int major, minor;
	size_t texture_alignment, texture_pitch_alignment;
	UNTIL_12(int overlap;)
	int multiprocessors;
	UNTIL_12(int timeout;)
	int integrated, map_host;
	UNTIL_12(int compute_mode;)
	int texture1d, texture1d_mipmap;
	UNTIL_12(int texture1d_linear;)
	int texture2d[2], texture2d_mipmap[2], texture2d_linear[3], texture2d_gather[2];
	int texture3d[3], texture3d_alt[3], cubemap, texture1d_layered[2], texture2d_layered[3];
	int cubemap_layered[2], surface1d, surface2d[2], surface3d[3], surface1d_layered[2];
	int surface2d_layered[3], surface_cubemap, surface_cubemap_layered[2];
	size_t surface_alignment;
	int concurrent_kernels, ecc, pci_bus, pci_device, pci_domain, tcc, engines, unified;
	UNTIL_12(int memory_clock;)
	int bus_width, l2, l2_persisting, threads_per_multiprocessor, priorities;
	int l1_globals, l1_locals;
	size_t shared_per_multiprocessor;
	int registers_per_multiprocessor, managed, multi_board, multi_board_group, host_atomics;
	UNTIL_12(int double_ratio;)
	int pageable, concurrent_managed, preemption, registered_pointers, cooperative;
	UNTIL_12(int cooperative_multi;)
	size_t shared_optin;
	int pageable_tables, managed_direct, blocks_per_multiprocessor, access_window;
	size_t shared_reserved;
	int host_register, sparse, register_read_only, timeline, pools, rdma;
	unsigned rdma_flush;
	int rdma_order;
	unsigned pool_handles;
	int deferred_mapping, ipc_events, cluster, function_pointers;
#if STANDIN_MAJOR >= 13
	int numa_config, numa_id, mps, host_numa;
	unsigned pci_id, pci_subsystem;
	int multinode_ipc;
#endif
};

#if STANDIN_MAJOR >= 13
_Static_assert(offsetof(struct rt_properties, multiprocessors) == 384 &&
		       offsetof(struct rt_properties, integrated) == 388 &&
		       offsetof(struct rt_properties, l2) == 596 &&
		       offsetof(struct rt_properties, cooperative) == 668 &&
		       offsetof(struct rt_properties, shared_optin) == 672 &&
		       sizeof(struct rt_properties) == 784,
	"cudaDeviceProp of CUDA 13");
#else
_Static_assert(offsetof(struct rt_properties, multiprocessors) == 388 &&
		       offsetof(struct rt_properties, integrated) == 396 &&
		       offsetof(struct rt_properties, l2) == 616 &&
		       offsetof(struct rt_properties, cooperative) == 688 &&
		       offsetof(struct rt_properties, shared_optin) == 696,
	"cudaDeviceProp of CUDA 12");
#endif

/* clang-format off */
/* X(field, driver attribute): ints; S: the field is a size_t. */
#define ATTRIBUTES(X, S) \
	S(shared_per_block, MAX_SHARED_MEMORY_PER_BLOCK) \
	X(registers_per_block, MAX_REGISTERS_PER_BLOCK) X(warp, WARP_SIZE) S(pitch, MAX_PITCH) \
	X(threads_per_block, MAX_THREADS_PER_BLOCK) X(block[0], MAX_BLOCK_DIM_X) \
	X(block[1], MAX_BLOCK_DIM_Y) X(block[2], MAX_BLOCK_DIM_Z) X(grid[0], MAX_GRID_DIM_X) \
	X(grid[1], MAX_GRID_DIM_Y) X(grid[2], MAX_GRID_DIM_Z) UNTIL_12(X(clock, CLOCK_RATE)) \
	S(constant, TOTAL_CONSTANT_MEMORY) X(major, COMPUTE_CAPABILITY_MAJOR) \
	X(minor, COMPUTE_CAPABILITY_MINOR) S(texture_alignment, TEXTURE_ALIGNMENT) \
	S(texture_pitch_alignment, TEXTURE_PITCH_ALIGNMENT) UNTIL_12(X(overlap, GPU_OVERLAP)) \
	X(multiprocessors, MULTIPROCESSOR_COUNT) UNTIL_12(X(timeout, KERNEL_EXEC_TIMEOUT)) \
	X(integrated, INTEGRATED) X(map_host, CAN_MAP_HOST_MEMORY) \
	UNTIL_12(X(compute_mode, COMPUTE_MODE)) X(texture1d, MAXIMUM_TEXTURE1D_WIDTH) \
	X(texture1d_mipmap, MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH) \
	UNTIL_12(X(texture1d_linear, MAXIMUM_TEXTURE1D_LINEAR_WIDTH)) \
	X(texture2d[0], MAXIMUM_TEXTURE2D_WIDTH) X(texture2d[1], MAXIMUM_TEXTURE2D_HEIGHT) \
	X(texture2d_mipmap[0], MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH) \
	X(texture2d_mipmap[1], MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT) \
	X(texture2d_linear[0], MAXIMUM_TEXTURE2D_LINEAR_WIDTH) \
	X(texture2d_linear[1], MAXIMUM_TEXTURE2D_LINEAR_HEIGHT) \
	X(texture2d_linear[2], MAXIMUM_TEXTURE2D_LINEAR_PITCH) \
	X(texture2d_gather[0], MAXIMUM_TEXTURE2D_GATHER_WIDTH) \
	X(texture2d_gather[1], MAXIMUM_TEXTURE2D_GATHER_HEIGHT) \
	X(texture3d[0], MAXIMUM_TEXTURE3D_WIDTH) X(texture3d[1], MAXIMUM_TEXTURE3D_HEIGHT) \
	X(texture3d[2], MAXIMUM_TEXTURE3D_DEPTH) \
	X(texture3d_alt[0], MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE) \
	X(texture3d_alt[1], MAXIMUM_TEXTURE3D_HEIGHT_ALTERNATE) \
	X(texture3d_alt[2], MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE) \
	X(cubemap, MAXIMUM_TEXTURECUBEMAP_WIDTH) \
	X(texture1d_layered[0], MAXIMUM_TEXTURE1D_LAYERED_WIDTH) \
	X(texture1d_layered[1], MAXIMUM_TEXTURE1D_LAYERED_LAYERS) \
	X(texture2d_layered[0], MAXIMUM_TEXTURE2D_LAYERED_WIDTH) \
	X(texture2d_layered[1], MAXIMUM_TEXTURE2D_LAYERED_HEIGHT) \
	X(texture2d_layered[2], MAXIMUM_TEXTURE2D_LAYERED_LAYERS) \
	X(cubemap_layered[0], MAXIMUM_TEXTURECUBEMAP_LAYERED_WIDTH) \
	X(cubemap_layered[1], MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS) \
	X(surface1d, MAXIMUM_SURFACE1D_WIDTH) X(surface2d[0], MAXIMUM_SURFACE2D_WIDTH) \
	X(surface2d[1], MAXIMUM_SURFACE2D_HEIGHT) X(surface3d[0], MAXIMUM_SURFACE3D_WIDTH) \
	X(surface3d[1], MAXIMUM_SURFACE3D_HEIGHT) X(surface3d[2], MAXIMUM_SURFACE3D_DEPTH) \
	X(surface1d_layered[0], MAXIMUM_SURFACE1D_LAYERED_WIDTH) \
	X(surface1d_layered[1], MAXIMUM_SURFACE1D_LAYERED_LAYERS) \
	X(surface2d_layered[0], MAXIMUM_SURFACE2D_LAYERED_WIDTH) \
	X(surface2d_layered[1], MAXIMUM_SURFACE2D_LAYERED_HEIGHT) \
	X(surface2d_layered[2], MAXIMUM_SURFACE2D_LAYERED_LAYERS) \
	X(surface_cubemap, MAXIMUM_SURFACECUBEMAP_WIDTH) \
	X(surface_cubemap_layered[0], MAXIMUM_SURFACECUBEMAP_LAYERED_WIDTH) \
	X(surface_cubemap_layered[1], MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS) \
	S(surface_alignment, SURFACE_ALIGNMENT) X(concurrent_kernels, CONCURRENT_KERNELS) \
	X(ecc, ECC_ENABLED) X(pci_bus, PCI_BUS_ID) X(pci_device, PCI_DEVICE_ID) \
	X(pci_domain, PCI_DOMAIN_ID) X(tcc, TCC_DRIVER) X(engines, ASYNC_ENGINE_COUNT) \
	X(unified, UNIFIED_ADDRESSING) UNTIL_12(X(memory_clock, MEMORY_CLOCK_RATE)) \
	X(bus_width, GLOBAL_MEMORY_BUS_WIDTH) X(l2, L2_CACHE_SIZE) \
	X(l2_persisting, MAX_PERSISTING_L2_CACHE_SIZE) \
	X(threads_per_multiprocessor, MAX_THREADS_PER_MULTIPROCESSOR) \
	X(priorities, STREAM_PRIORITIES_SUPPORTED) X(l1_globals, GLOBAL_L1_CACHE_SUPPORTED) \
	X(l1_locals, LOCAL_L1_CACHE_SUPPORTED) \
	S(shared_per_multiprocessor, MAX_SHARED_MEMORY_PER_MULTIPROCESSOR) \
	X(registers_per_multiprocessor, MAX_REGISTERS_PER_MULTIPROCESSOR) \
	X(managed, MANAGED_MEMORY) X(multi_board, MULTI_GPU_BOARD) \
	X(multi_board_group, MULTI_GPU_BOARD_GROUP_ID) \
	X(host_atomics, HOST_NATIVE_ATOMIC_SUPPORTED) \
	UNTIL_12(X(double_ratio, SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO)) \
	X(pageable, PAGEABLE_MEMORY_ACCESS) X(concurrent_managed, CONCURRENT_MANAGED_ACCESS) \
	X(preemption, COMPUTE_PREEMPTION_SUPPORTED) \
	X(registered_pointers, CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM) \
	X(cooperative, COOPERATIVE_LAUNCH) \
	UNTIL_12(X(cooperative_multi, COOPERATIVE_MULTI_DEVICE_LAUNCH)) \
	S(shared_optin, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) \
	X(pageable_tables, PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES) \
	X(managed_direct, DIRECT_MANAGED_MEM_ACCESS_FROM_HOST) \
	X(blocks_per_multiprocessor, MAX_BLOCKS_PER_MULTIPROCESSOR) \
	X(access_window, MAX_ACCESS_POLICY_WINDOW_SIZE) \
	S(shared_reserved, RESERVED_SHARED_MEMORY_PER_BLOCK) \
	X(host_register, HOST_REGISTER_SUPPORTED) X(sparse, SPARSE_CUDA_ARRAY_SUPPORTED) \
	X(register_read_only, READ_ONLY_HOST_REGISTER_SUPPORTED) \
	X(timeline, TIMELINE_SEMAPHORE_INTEROP_SUPPORTED) X(pools, MEMORY_POOLS_SUPPORTED) \
	X(rdma, GPU_DIRECT_RDMA_SUPPORTED) \
	X(rdma_flush, GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS) \
	X(rdma_order, GPU_DIRECT_RDMA_WRITES_ORDERING) \
	X(pool_handles, MEMPOOL_SUPPORTED_HANDLE_TYPES) \
	X(deferred_mapping, DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED) \
	X(ipc_events, IPC_EVENT_SUPPORTED) X(cluster, CLUSTER_LAUNCH) \
	X(function_pointers, UNIFIED_FUNCTION_POINTERS)
/* clang-format on */

#define ROW_INT(field, attribute) \
	{offsetof(struct rt_properties, field), CU_DEVICE_ATTRIBUTE_##attribute, false},
#define ROW_SIZE(field, attribute) \
	{offsetof(struct rt_properties, field), CU_DEVICE_ATTRIBUTE_##attribute, true},

static const struct {
	uint16_t offset;
	int attribute;
	bool is_size;
} rows[] = {ATTRIBUTES(ROW_INT, ROW_SIZE)};

#define MAX_DEVICES 64
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rt_properties cache[MAX_DEVICES]; /* guarded by lock, as the next one */
static bool cached[MAX_DEVICES];

/* Attributes that an older driver does not know stay 0, as the rest of the record. */
static int fill(const struct driver *d, int device, struct rt_properties *p)
{
	CUdevice dev;

	memset(p, 0, sizeof(*p));
	int error = d->cuDeviceGet(&dev, device);
	if (!error)
		error = d->cuDeviceGetName(p->name, sizeof(p->name), dev);
	if (!error)
		error = d->cuDeviceTotalMem(&p->total, dev);
	if (!error)
		error = d->cuDeviceGetUuid(&p->uuid, dev);
	for (size_t i = 0; !error && i < sizeof(rows) / sizeof(rows[0]); i++) {
		int value = 0;
		int e = d->cuDeviceGetAttribute(&value, (CUdevice_attribute)rows[i].attribute, dev);
		if (e && e != CUDA_ERROR_INVALID_VALUE && e != CUDA_ERROR_NOT_SUPPORTED)
			error = e;
		char *at = (char *)p + rows[i].offset;
		if (rows[i].is_size)
			*(size_t *)at = (size_t)value;
		else
			*(int *)at = value;
	}
	return error;
}

EXPORT int PROPERTIES_NAME(struct rt_properties *properties, int device)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (!d)
		return rt_error(error);
	if (device < 0 || device >= MAX_DEVICES)
		return rt_error(CUDA_ERROR_INVALID_DEVICE);
	pthread_mutex_lock(&lock);
	if (!cached[device]) {
		error = fill(d, device, &cache[device]);
		cached[device] = !error;
	}
	if (!error)
		*properties = cache[device];
	pthread_mutex_unlock(&lock);
	return rt_error(error);
}

EXPORT int cudaGetDeviceCount(int *count)
{
	int error;
	const struct driver *d = rt_driver(&error);

	*count = 0;
	if (d)
		error = d->cuDeviceGetCount(count);
	if (!error && !*count)
		error = CUDA_ERROR_NO_DEVICE;
	return rt_error(error);
}

EXPORT int cudaDeviceGetAttribute(int *value, int attribute, int device)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (d)
		error = d->cuDeviceGetAttribute(value, (CUdevice_attribute)attribute, device);
	return rt_error(error);
}

EXPORT int cudaDeviceGetPCIBusId(char *text, int length, int device)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (d)
		error = d->cuDeviceGetPCIBusId(text, length, device);
	return rt_error(error);
}

EXPORT int cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
	int error;
	const struct driver *d = rt_driver(&error);

	if (d)
		error = d->cuDeviceCanAccessPeer(can, device, peer);
	return rt_error(error);
}

EXPORT int cudaMemGetInfo(size_t *free, size_t *total)
{
	RT_CALL(d->cuMemGetInfo(free, total));
}
