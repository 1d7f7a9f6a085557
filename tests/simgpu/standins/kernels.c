/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.c - registered images and kernels of the libcudart stand-in.
 *
 * Registration runs in constructors, long before there is a driver: it only takes notes. An image
 * is loaded when the first of its kernels is asked for.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "exports.h"

struct image {
	void *wrapper;
	CUlibrary library; /* NULL: not loaded */
};

/* One host function, or (image NULL) a kernel handle that was given out and may come back as a
 * function. */
struct function {
	const void *key; /* NULL: free */
	struct image *image;
	const char *name;
	CUkernel kernel;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct function *functions; /* guarded by lock: open addressing, at most half full */
static size_t n_functions, n_slots;
static int n_images;

static struct function *find(const void *key)
{
	if (!n_slots)
		return NULL;
	size_t at = ((uintptr_t)key >> 3) * 0x9e3779b97f4a7c15u & (n_slots - 1);
	while (functions[at].key && functions[at].key != key)
		at = (at + 1) & (n_slots - 1);
	return &functions[at];
}

static bool grow(void)
{
	struct function *old = functions;
	size_t n_old = n_slots;
	struct function *grown = calloc(n_old ? 2 * n_old : 1024, sizeof(*grown));

	if (!grown)
		return false;
	functions = grown;
	n_slots = n_old ? 2 * n_old : 1024;
	for (size_t i = 0; i < n_old; i++)
		if (old[i].key)
			*find(old[i].key) = old[i];
	free(old);
	return true;
}

static void insert(struct function f)
{
	if (2 * n_functions >= n_slots && !grow())
		return; /* it will be reported as an unknown function when it is used */
	struct function *slot = find(f.key);
	if (!slot->key)
		n_functions++;
	*slot = f;
}

EXPORT void **__cudaRegisterFatBinary(void *wrapper)
{
	struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return NULL;
	image->wrapper = wrapper;
	pthread_mutex_lock(&lock);
	n_images++;
	pthread_mutex_unlock(&lock);
	return (void **)image;
}

EXPORT void __cudaRegisterFatBinaryEnd(void **handle)
{
}

EXPORT void __cudaUnregisterFatBinary(void **handle)
{
	struct image *image = (struct image *)handle;
	bool last;
	int error;

	if (!image)
		return;
	pthread_mutex_lock(&lock);
	last = --n_images == 0;
	pthread_mutex_unlock(&lock);
	if (image->library) {
		const struct driver *d = rt_driver(&error);
		if (d)
			d->cuLibraryUnload(image->library);
		image->library = NULL;
	}
	/* The image itself stays: functions of it are still in the table and have to fail cleanly.
	 */
	image->wrapper = NULL;
	if (last)
		rt_primaries_release();
}

EXPORT void __cudaRegisterFunction(void **handle, const char *function, char *device_function,
	const char *name, int thread_limit, void *tid, void *bid, void *block, void *grid,
	int *warp_size)
{
	if (!handle)
		return;
	pthread_mutex_lock(&lock);
	insert((struct function){function, (struct image *)handle, name, NULL});
	pthread_mutex_unlock(&lock);
}

/* No entry point that the stand-in has takes a variable. */
EXPORT void __cudaRegisterVar(void **handle, char *variable, char *address, const char *name,
	int ext, size_t size, int constant, int global)
{
}

/* Loads the image if need be and finds the kernel. Under the lock: loading twice would lose one. */
static int load(const struct driver *d, struct function *f)
{
	CUlibraryOption option = CU_LIBRARY_BINARY_IS_PRESERVED;
	void *value = (void *)(uintptr_t)1;
	struct image *image = f->image;
	int error = 0;

	if (!image || !image->wrapper)
		return RT_INVALID_DEVICE_FUNCTION;
	if (!image->library)
		error = d->cuLibraryLoadData(
			&image->library, image->wrapper, NULL, NULL, 0, &option, &value, 1);
	if (error) {
		image->library = NULL;
		return error;
	}
	return d->cuLibraryGetKernel(&f->kernel, image->library, f->name);
}

int rt_kernel(const struct driver *d, const void *function, CUkernel *ret_kernel)
{
	int error = 0;

	pthread_mutex_lock(&lock);
	struct function *f = find(function);
	if (!f || !f->key) {
		error = RT_INVALID_DEVICE_FUNCTION;
	} else if (!f->kernel) {
		error = load(d, f);
		if (!error) {
			*ret_kernel = f->kernel;
			insert((struct function){f->kernel, NULL, NULL, f->kernel});
		}
	} else {
		*ret_kernel = f->kernel;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

const void *rt_function_of(const struct driver *d, const void *handle)
{
	const void *found = NULL;
	CUfunction function;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_slots && !found; i++) {
		const struct function *f = &functions[i];
		if (!f->key || !f->image || !f->kernel)
			continue;
		if (f->kernel == handle ||
			(!d->cuKernelGetFunction(&function, f->kernel) && function == handle))
			found = f->key;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

EXPORT int __cudaGetKernel(CUkernel *kernel, const void *function)
{
	RT_CALL(rt_kernel(d, function, kernel));
}

/* cudaFuncAttributes up to its last public field; the reserved words behind it are left alone. */
struct rt_function_attributes {
	size_t shared, constant, local;
	int max_threads, registers, ptx, binary, cache_mode, max_dynamic, carveout;
	int cluster_must_be_set, cluster_x, cluster_y, cluster_z, cluster_scheduling;
	int cluster_non_portable;
};
_Static_assert(
	offsetof(struct rt_function_attributes, cluster_non_portable) == 72, "cudaFuncAttributes");

EXPORT int cudaFuncGetAttributes(struct rt_function_attributes *a, const void *function)
{
	int values[16], error;
	CUkernel kernel;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	for (int i = 0; !error && i < 16; i++)
		error = d->cuKernelGetAttribute(
			&values[i], (CUfunction_attribute)i, kernel, rt_device(d));
	if (error)
		return rt_error(error);
	a->max_threads = values[0];
	a->shared = (size_t)values[1];
	a->constant = (size_t)values[2];
	a->local = (size_t)values[3];
	memcpy(&a->registers, &values[4], 10 * sizeof(int));
	a->cluster_scheduling = values[15];
	a->cluster_non_portable = values[14];
	return 0;
}

EXPORT int cudaFuncSetAttribute(const void *function, int attribute, int value)
{
	CUkernel kernel;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	if (!error)
		error = d->cuKernelSetAttribute(
			(CUfunction_attribute)attribute, value, kernel, rt_device(d));
	return rt_error(error);
}

EXPORT int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
	int *blocks, const void *function, int block_size, size_t shared, unsigned flags)
{
	CUkernel kernel;
	CUfunction f;
	int error;
	const struct driver *d = rt_bound(&error);

	if (d)
		error = rt_kernel(d, function, &kernel);
	if (!error)
		error = d->cuKernelGetFunction(&f, kernel);
	if (!error)
		error = d->cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
			blocks, f, block_size, shared, flags);
	return rt_error(error);
}
