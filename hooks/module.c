/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.c - modules and libraries: their images are kept while a driver cannot tell parameter
 * layouts, their handles are forgotten when they go.
 */
#include "hooks/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hooks/call.h"
#include "hooks/fatbin.h"
#include "hooks/launch.h"
#include "hooks/track.h"

#define IMAGE_LIMIT ((size_t)4 << 30)
#define PARTS_MAX 256u
#define BUCKETS 1024u

/* Containers of one image, as they were given: unpacked only when a layout is asked for. */
struct image {
	uint32_t refs; /* guarded by mutex: one per owner, one per reader */
	uint32_t n_parts;
	struct part {
		const void *data;
		size_t size;
		void *copy; /* NULL: data lies in a loaded object and stays there */
	} parts[];
};

/* A module or library -> its image; several owners (the modules of a library) may share one. */
struct owner {
	struct owner *next;
	const void *handle;
	struct image *image;
};

/* A function or kernel -> its name and the image it came from. */
struct function {
	struct function *next;
	const void *handle;
	struct image *image; /* not counted: goes with its owners */
	char name[];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* leaf */
static struct owner *owners;                              /* guarded by mutex */
static struct function *functions[BUCKETS];               /* guarded by mutex */

/* cuFuncGetParamInfo() came with 12.4. A driver may have the name and still not answer. */
static bool driver_tells(void)
{
	static _Atomic int asked; /* 0: not yet, 1: yes, 2: no. atomic: relaxed, a single value */
	int answer = atomic_load_explicit(&asked, memory_order_relaxed), version = 0;

	if (!answer) {
		answer = kv_real.cuFuncGetParamInfo &&
					 KV_REAL(cuDriverGetVersion)(&version) == CUDA_SUCCESS &&
					 version >= 12040
				 ? 1
				 : 2;
		atomic_store_explicit(&asked, answer, memory_order_relaxed);
	}
	return answer == 1;
}

bool kv_images_wanted(void)
{
	return kv_hooks_active() && (kv_hooks.config.force_cubin_layouts || !driver_tells());
}

/* ---- images ---- */

/* [mutex] */
static void image_put(struct image *image)
{
	if (!image || --image->refs)
		return;
	for (uint32_t i = 0; i < image->n_parts; i++)
		free(image->parts[i].copy);
	free(image);
}

/* Adds one container. data_size: 0 to find out. A part that cannot be kept is left out. */
static void image_add(struct image *image, const void *data)
{
	struct part *part = &image->parts[image->n_parts];
	Dl_info where;
	size_t size;

	if (!data || kv_image_size(data, IMAGE_LIMIT, &size))
		return;
	*part = (struct part){data, size, NULL};
	/* What the compiler put into a program or library outlives the module; anything else may be
	 * freed right after loading. */
	if (!dladdr(data, &where)) {
		part->copy = malloc(size);
		if (!part->copy)
			return;
		part->data = memcpy(part->copy, data, size);
	}
	image->n_parts++;
}

/* From what the program gave to the driver, which has just accepted it. NULL: nothing can be kept.
 */
static struct image *image_new(const void *given)
{
	const struct kv_fatbin_wrapper *wrapper = given;
	const void *const *list = NULL;
	struct image *image;
	uint32_t n = 1;

	if (!given)
		return NULL;
	if (!memcmp(given, &(uint32_t){KV_FATBIN_WRAPPER_MAGIC}, 4)) {
		given = wrapper->data;
		if (wrapper->version == 2 && wrapper->more) {
			list = wrapper->more;
			for (n = 0; n < PARTS_MAX && list[n]; n++)
				;
		}
	}
	image = calloc(1, sizeof(*image) + (n + 1) * sizeof(image->parts[0]));
	if (!image)
		return NULL;
	image->refs = 1;
	if (list)
		for (uint32_t i = 0; i < n; i++)
			image_add(image, list[i]);
	else
		image_add(image, given);
	return image;
}

static struct image *image_from_file(const char *path)
{
	struct image *image = NULL;
	FILE *file = path ? fopen(path, "rbe") : NULL;
	char *bytes = NULL;
	long size;

	if (!file)
		return NULL;
	if (fseek(file, 0, SEEK_END) || (size = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET))
		goto close;
	bytes = malloc((size_t)size + 1); /* PTX need not end with a NUL in a file */
	if (!bytes || fread(bytes, 1, (size_t)size, file) != (size_t)size)
		goto close;
	bytes[size] = '\0';
	image = image_new(bytes);
close:
	free(bytes);
	fclose(file);
	return image;
}

/* ---- handles ---- */

static struct function **bucket_of(const void *handle)
{
	return &functions[((uintptr_t)handle >> 4) * 0x9e3779b97f4a7c15ull >> 32 & (BUCKETS - 1)];
}

/* [mutex] The image of a module or library. */
static struct image *image_of(const void *handle)
{
	for (struct owner *o = owners; o; o = o->next)
		if (o->handle == handle)
			return o->image;
	return NULL;
}

/* [mutex] */
static struct function *function_of(const void *handle)
{
	for (struct function *f = *bucket_of(handle); f; f = f->next)
		if (f->handle == handle)
			return f;
	return NULL;
}

/* [mutex] Functions of an image that nobody owns any more. */
static void drop_functions(const struct image *image)
{
	for (uint32_t i = 0; i < BUCKETS; i++) {
		for (struct function **at = &functions[i], *f; (f = *at);) {
			if (f->image == image) {
				*at = f->next;
				free(f);
			} else {
				at = &f->next;
			}
		}
	}
}

/* Takes over the caller's reference to image. */
static void owner_add(const void *handle, struct image *image)
{
	struct owner *owner = malloc(sizeof(*owner));

	pthread_mutex_lock(&mutex);
	if (owner && image) {
		*owner = (struct owner){owners, handle, image};
		owners = owner;
	} else {
		image_put(image);
		free(owner);
	}
	pthread_mutex_unlock(&mutex);
}

static void owner_drop(const void *handle)
{
	struct image *image;
	uint32_t n = 0;

	pthread_mutex_lock(&mutex);
	image = image_of(handle);
	if (image)
		drop_functions(image);
	/* With a library go the modules that were got from it. */
	for (struct owner **at = &owners, *o; image && (o = *at);) {
		if (o->image == image) {
			*at = o->next;
			free(o);
			n++;
		} else {
			at = &o->next;
		}
	}
	while (n--)
		image_put(image);
	pthread_mutex_unlock(&mutex);
}

static void function_add(const void *handle, const void *owner, const char *name)
{
	struct function *f, *old;
	size_t length;

	if (!kv_images_wanted() || !handle || !name)
		return;
	length = strlen(name) + 1;
	f = malloc(sizeof(*f) + length);
	if (!f)
		return;
	pthread_mutex_lock(&mutex);
	f->handle = handle;
	f->image = image_of(owner);
	memcpy(f->name, name, length);
	old = function_of(handle);
	if (!f->image || (old && old->image == f->image && !strcmp(old->name, name))) {
		free(f);
	} else {
		/* In front of an older meaning of the handle. */
		f->next = *bucket_of(handle);
		*bucket_of(handle) = f;
	}
	pthread_mutex_unlock(&mutex);
}

int kv_module_layout(
	const void *function, const char *name, char **ret_name, struct kv_layout **ret_layout)
{
	struct image *image = NULL;
	struct function *f;
	CUmodule module;
	int err = -ENOENT;

	*ret_name = NULL;
	/* Functions that were listed, not got by name: the driver may know where they belong. */
	if (KV_REAL(cuFuncGetModule)(&module, (CUfunction)function) != CUDA_SUCCESS)
		module = NULL;
	pthread_mutex_lock(&mutex);
	f = function_of(function);
	if (f) {
		*ret_name = strdup(f->name);
		image = f->image;
	} else if (module && name) {
		image = image_of(module);
		*ret_name = strdup(name);
	}
	if (image)
		image->refs++;
	pthread_mutex_unlock(&mutex);
	if (!image)
		return -ENOENT;
	for (uint32_t i = 0; i < image->n_parts && err && *ret_name; i++)
		err = kv_image_layout(
			image->parts[i].data, image->parts[i].size, *ret_name, ret_layout);
	pthread_mutex_lock(&mutex);
	image_put(image);
	pthread_mutex_unlock(&mutex);
	return err;
}

/* ---- entry points ---- */

static void loaded(CUresult res, const void *handle, const void *image)
{
	if (res == CUDA_SUCCESS && kv_images_wanted())
		owner_add(handle, image_new(image));
}

static void loaded_from(CUresult res, const void *handle, const char *path)
{
	if (res == CUDA_SUCCESS && kv_images_wanted())
		owner_add(handle, image_from_file(path));
}

CUresult CUDAAPI cuModuleLoad(CUmodule *module, const char *path)
{
	CUresult res = KV_REAL(cuModuleLoad)(module, path);

	loaded_from(res, res ? NULL : *module, path);
	return res;
}

CUresult CUDAAPI cuModuleLoadData(CUmodule *module, const void *image)
{
	CUresult res = KV_REAL(cuModuleLoadData)(module, image);

	loaded(res, res ? NULL : *module, image);
	return res;
}

CUresult CUDAAPI cuModuleLoadDataEx(
	CUmodule *module, const void *image, unsigned int n, CUjit_option *options, void **values)
{
	CUresult res = KV_REAL(cuModuleLoadDataEx)(module, image, n, options, values);

	loaded(res, res ? NULL : *module, image);
	return res;
}

CUresult CUDAAPI cuModuleLoadFatBinary(CUmodule *module, const void *image)
{
	CUresult res = KV_REAL(cuModuleLoadFatBinary)(module, image);

	loaded(res, res ? NULL : *module, image);
	return res;
}

CUresult CUDAAPI cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *jit,
	void **jit_values, unsigned int n_jit, CUlibraryOption *options, void **values,
	unsigned int n)
{
	CUresult res = KV_REAL(cuLibraryLoadData)(
		library, image, jit, jit_values, n_jit, options, values, n);

	loaded(res, res ? NULL : *library, image);
	return res;
}

CUresult CUDAAPI cuLibraryLoadFromFile(CUlibrary *library, const char *path, CUjit_option *jit,
	void **jit_values, unsigned int n_jit, CUlibraryOption *options, void **values,
	unsigned int n)
{
	CUresult res = KV_REAL(cuLibraryLoadFromFile)(
		library, path, jit, jit_values, n_jit, options, values, n);

	loaded_from(res, res ? NULL : *library, path);
	return res;
}

/* Before the driver call: right after it another thread may get the same handles for other kernels.
 */
static void going(const void *handle)
{
	kv_hooks_ready();
	if (!kv_hooks_active())
		return;
	kv_kernel_forget();
	owner_drop(handle);
}

CUresult CUDAAPI cuModuleUnload(CUmodule module)
{
	going(module);
	return KV_REAL(cuModuleUnload)(module);
}

CUresult CUDAAPI cuLibraryUnload(CUlibrary library)
{
	going(library);
	return KV_REAL(cuLibraryUnload)(library);
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
	CUresult res = KV_REAL(cuModuleGetFunction)(function, module, name);

	if (res == CUDA_SUCCESS)
		function_add(*function, module, name);
	return res;
}

CUresult CUDAAPI cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
	CUresult res = KV_REAL(cuLibraryGetKernel)(kernel, library, name);

	if (res == CUDA_SUCCESS)
		function_add(*kernel, library, name);
	return res;
}

/* The function of a kernel has its name and image. */
static void alias(const void *function, const void *kernel)
{
	struct function *of, *f;

	if (!kv_images_wanted())
		return;
	pthread_mutex_lock(&mutex);
	of = function_of(kernel);
	if (of && !function_of(function)) {
		f = malloc(sizeof(*f) + strlen(of->name) + 1);
		if (f) {
			f->handle = function;
			f->image = of->image;
			strcpy(f->name, of->name);
			f->next = *bucket_of(function);
			*bucket_of(function) = f;
		}
	}
	pthread_mutex_unlock(&mutex);
}

CUresult CUDAAPI cuKernelGetFunction(CUfunction *function, CUkernel kernel)
{
	CUresult res = KV_REAL(cuKernelGetFunction)(function, kernel);

	if (res == CUDA_SUCCESS)
		alias(*function, kernel);
	return res;
}

CUresult CUDAAPI cuLibraryGetModule(CUmodule *module, CUlibrary library)
{
	CUresult res = KV_REAL(cuLibraryGetModule)(module, library);
	struct image *image;

	if (res == CUDA_SUCCESS && kv_images_wanted()) {
		pthread_mutex_lock(&mutex);
		image = image_of(*module) ? NULL : image_of(library);
		if (image)
			image->refs++;
		pthread_mutex_unlock(&mutex);
		if (image)
			owner_add(*module, image);
	}
	return res;
}

/*
 * A managed variable: the program may put addresses there that a kernel follows. Its range outlives
 * the module here, which can only make a launch look worse than it is.
 */
static void track_managed(CUdeviceptr address, size_t size)
{
	kv_track_add(KV_TRACK_MANAGED, address, size, NULL);
}

CUresult CUDAAPI cuModuleGetGlobal_v2(
	CUdeviceptr *address, size_t *size, CUmodule module, const char *name)
{
	CUresult res = KV_REAL(cuModuleGetGlobal_v2)(address, size, module, name);
	struct kv_own_call own;
	unsigned int managed;

	/* Both results are optional; without them nothing has been learned. */
	if (res != CUDA_SUCCESS || !kv_hooks_active() || kv_thread.depth || !address || !size)
		return res;
	kv_own_begin(&own);
	if (KV_REAL(cuPointerGetAttribute)(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, *address) ==
			CUDA_SUCCESS &&
		managed)
		track_managed(*address, *size);
	kv_own_end(&own);
	return res;
}

CUresult CUDAAPI cuLibraryGetManaged(
	CUdeviceptr *address, size_t *size, CUlibrary library, const char *name)
{
	CUresult res = KV_REAL(cuLibraryGetManaged)(address, size, library, name);

	if (res == CUDA_SUCCESS && kv_hooks_active() && !kv_thread.depth && address && size)
		track_managed(*address, *size);
	return res;
}
