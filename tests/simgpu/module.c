/* SPDX-License-Identifier: Apache-2.0 */
/*
 * module.c - modules, libraries, functions and kernels over parsed images.
 *
 * A library and a module are one object, and so are a kernel and its function: the driver allows a
 * CUkernel wherever it takes a CUfunction. Code takes no device memory here; globals do, when
 * somebody asks for them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_protos.h"
#include "memory.h"

struct sim_module {
	uint32_t magic;
	struct sim_context *context; /* NULL: a library */
	struct sim_image *image;
	struct sim_function *functions;     /* one per kernel of the image */
	uint64_t *globals[SIM_MAX_DEVICES]; /* addresses, 0: not allocated; guarded by sim_lock */
	struct sim_module *next;
};

static struct sim_module *modules; /* guarded by sim_lock */

struct sim_function *sim_function_of(CUfunction handle)
{
	struct sim_function *f = (struct sim_function *)handle;

	return f && (uintptr_t)f % 8 == 0 && f->magic == SIM_FUNCTION_MAGIC ? f : NULL;
}

static struct sim_module *module_of(const void *handle)
{
	struct sim_module *m = (struct sim_module *)(uintptr_t)handle;

	return m && (uintptr_t)m % 8 == 0 && m->magic == SIM_MODULE_MAGIC ? m : NULL;
}

static CUresult module_new(const void *data, struct sim_context *context, struct sim_module **ret)
{
	if (!data)
		return CUDA_ERROR_INVALID_VALUE;
	struct sim_module *m = calloc(1, sizeof(*m));
	if (!m)
		return CUDA_ERROR_OUT_OF_MEMORY;
	CUresult result = sim_image_parse(data, sim_config.cc, &m->image);
	if (result != CUDA_SUCCESS) {
		free(m);
		return result;
	}
	m->functions = calloc(m->image->n_kernels + 1, sizeof(*m->functions));
	if (!m->functions) {
		sim_image_free(m->image);
		free(m);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	m->magic = SIM_MODULE_MAGIC;
	m->context = context;
	for (uint32_t i = 0; i < m->image->n_kernels; i++) {
		m->functions[i].magic = SIM_FUNCTION_MAGIC;
		m->functions[i].kernel = &m->image->kernels[i];
		m->functions[i].module = m;
	}
	pthread_mutex_lock(&sim_lock);
	m->next = modules;
	modules = m;
	pthread_mutex_unlock(&sim_lock);
	*ret = m;
	return CUDA_SUCCESS;
}

static void module_free(struct sim_module *m)
{
	pthread_mutex_lock(&sim_lock);
	for (struct sim_module **at = &modules; *at; at = &(*at)->next) {
		if (*at == m) {
			*at = m->next;
			break;
		}
	}
	pthread_mutex_unlock(&sim_lock);
	pthread_mutex_lock(&sim_memory_lock);
	for (int d = 0; d < SIM_MAX_DEVICES; d++) {
		for (uint32_t i = 0; m->globals[d] && i < m->image->n_globals; i++) {
			struct sim_range *range =
				m->globals[d][i] ? sim_range_at(m->globals[d][i]) : NULL;
			if (range && range->internal)
				sim_native_free(range);
		}
		free(m->globals[d]);
	}
	pthread_mutex_unlock(&sim_memory_lock);
	for (uint32_t i = 0; i < m->image->n_kernels; i++)
		m->functions[i].magic = SIM_DEAD_MAGIC;
	m->magic = SIM_DEAD_MAGIC;
	sim_image_free(m->image);
	free(m->functions);
	free(m);
}

void sim_modules_drop(struct sim_context *context)
{
	for (;;) {
		struct sim_module *found = NULL;
		pthread_mutex_lock(&sim_lock);
		for (struct sim_module *m = modules; m && !found; m = m->next)
			if (m->context == context)
				found = m;
		pthread_mutex_unlock(&sim_lock);
		if (!found)
			return;
		module_free(found);
	}
}

static struct sim_function *function_named(struct sim_module *m, const char *name)
{
	const struct sim_kernel *k = sim_image_kernel(m->image, name);

	return k ? &m->functions[k - m->image->kernels] : NULL;
}

static CUresult global_of(
	struct sim_module *m, const char *name, CUdeviceptr *ret_addr, size_t *ret_size)
{
	struct sim_context *context = sim_context_current();

	if (!m || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!context)
		return CUDA_ERROR_INVALID_CONTEXT;
	int d = context->device->ordinal;
	for (uint32_t i = 0; i < m->image->n_globals; i++) {
		const struct sim_global *g = &m->image->globals[i];
		if (strcmp(g->name, name) != 0)
			continue;
		if (!m->globals[d])
			m->globals[d] = calloc(m->image->n_globals, sizeof(uint64_t));
		if (!m->globals[d])
			return CUDA_ERROR_OUT_OF_MEMORY;
		if (!m->globals[d][i]) {
			CUresult result = sim_native_alloc(context, SIM_RANGE_DEVICE,
				g->size ? g->size : 1, &m->globals[d][i]);
			if (result != CUDA_SUCCESS)
				return result;
			pthread_mutex_lock(&sim_memory_lock);
			struct sim_range *range = sim_range_at(m->globals[d][i]);
			range->internal = true;
			sim_store_fill(
				range->extent.store, range->extent.offset, range->size, 0, 1);
			pthread_mutex_unlock(&sim_memory_lock);
		}
		if (ret_addr)
			*ret_addr = m->globals[d][i];
		if (ret_size)
			*ret_size = g->size;
		return CUDA_SUCCESS;
	}
	return CUDA_ERROR_NOT_FOUND;
}

/* ---- modules ---- */

CUresult sim_cuModuleLoadData(CUmodule *ret, const void *data)
{
	struct sim_module *m;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = module_new(data, sim_context_current(), &m);
	if (result == CUDA_SUCCESS)
		*ret = (CUmodule)m;
	return result;
}

CUresult sim_cuModuleLoadDataEx(
	CUmodule *ret, const void *data, unsigned int n, CUjit_option *options, void **values)
{
	return sim_cuModuleLoadData(ret, data);
}

CUresult sim_cuModuleLoadFatBinary(CUmodule *ret, const void *data)
{
	return sim_cuModuleLoadData(ret, data);
}

/* The whole file, NUL-terminated, to be freed. */
static CUresult read_file(const char *path, void **ret)
{
	FILE *f = path ? fopen(path, "rb") : NULL;
	if (!f)
		return CUDA_ERROR_FILE_NOT_FOUND;
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	char *data = NULL;
	long size;
	if (fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0 && fseek(f, 0, SEEK_SET) == 0) {
		data = malloc((size_t)size + 1);
		if (data && fread(data, 1, (size_t)size, f) == (size_t)size) {
			data[size] = '\0';
			*ret = data;
			result = CUDA_SUCCESS;
		} else {
			free(data);
		}
	}
	fclose(f);
	return result;
}

CUresult sim_cuModuleLoad(CUmodule *ret, const char *path)
{
	void *data;
	CUresult result = read_file(path, &data);

	if (result == CUDA_SUCCESS) {
		result = sim_cuModuleLoadData(ret, data);
		free(data);
	}
	return result;
}

CUresult sim_cuModuleUnload(CUmodule handle)
{
	struct sim_module *m = module_of(handle);

	if (!m || !m->context)
		return CUDA_ERROR_INVALID_HANDLE;
	sim_context_wait(m->context);
	module_free(m);
	return CUDA_SUCCESS;
}

CUresult sim_cuModuleGetFunction(CUfunction *ret, CUmodule handle, const char *name)
{
	struct sim_module *m = module_of(handle);

	if (!ret || !name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!m)
		return CUDA_ERROR_INVALID_HANDLE;
	struct sim_function *f = function_named(m, name);
	if (!f)
		return CUDA_ERROR_NOT_FOUND;
	*ret = (CUfunction)f;
	return CUDA_SUCCESS;
}

CUresult sim_cuModuleGetFunctionCount(unsigned int *count, CUmodule handle)
{
	struct sim_module *m = module_of(handle);

	if (!m || !count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = m->image->n_kernels;
	return CUDA_SUCCESS;
}

CUresult sim_cuModuleEnumerateFunctions(CUfunction *ret, unsigned int n, CUmodule handle)
{
	struct sim_module *m = module_of(handle);

	if (!m || !ret)
		return CUDA_ERROR_INVALID_VALUE;
	for (uint32_t i = 0; i < n && i < m->image->n_kernels; i++)
		ret[i] = (CUfunction)&m->functions[i];
	return CUDA_SUCCESS;
}

CUresult sim_cuModuleGetGlobal_v2(
	CUdeviceptr *addr, size_t *size, CUmodule handle, const char *name)
{
	return global_of(module_of(handle), name, addr, size);
}

CUresult sim_cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
	if (!mode)
		return CUDA_ERROR_INVALID_VALUE;
	*mode = CU_MODULE_LAZY_LOADING;
	return CUDA_SUCCESS;
}

/* ---- libraries ---- */

CUresult sim_cuLibraryLoadData(CUlibrary *ret, const void *data, CUjit_option *jit,
	void **jit_values, unsigned int n_jit, CUlibraryOption *options, void **values,
	unsigned int n)
{
	struct sim_module *m;

	if (!ret)
		return CUDA_ERROR_INVALID_VALUE;
	CUresult result = module_new(data, NULL, &m);
	if (result == CUDA_SUCCESS)
		*ret = (CUlibrary)m;
	return result;
}

CUresult sim_cuLibraryLoadFromFile(CUlibrary *ret, const char *path, CUjit_option *jit,
	void **jit_values, unsigned int n_jit, CUlibraryOption *options, void **values,
	unsigned int n)
{
	void *data;
	CUresult result = read_file(path, &data);

	if (result == CUDA_SUCCESS) {
		result = sim_cuLibraryLoadData(
			ret, data, jit, jit_values, n_jit, options, values, n);
		free(data);
	}
	return result;
}

CUresult sim_cuLibraryUnload(CUlibrary handle)
{
	struct sim_module *m = module_of(handle);

	if (!m || m->context)
		return CUDA_ERROR_INVALID_HANDLE;
	for (int d = 0; d < sim_config.n_devices; d++)
		sim_device_wait(&sim_devices[d]);
	module_free(m);
	return CUDA_SUCCESS;
}

CUresult sim_cuLibraryGetKernel(CUkernel *ret, CUlibrary handle, const char *name)
{
	return sim_cuModuleGetFunction((CUfunction *)ret, (CUmodule)handle, name);
}

CUresult sim_cuLibraryGetKernelCount(unsigned int *count, CUlibrary handle)
{
	return sim_cuModuleGetFunctionCount(count, (CUmodule)handle);
}

CUresult sim_cuLibraryEnumerateKernels(CUkernel *ret, unsigned int n, CUlibrary handle)
{
	return sim_cuModuleEnumerateFunctions((CUfunction *)ret, n, (CUmodule)handle);
}

CUresult sim_cuLibraryGetModule(CUmodule *ret, CUlibrary handle)
{
	if (!ret || !module_of(handle))
		return CUDA_ERROR_INVALID_HANDLE;
	*ret = (CUmodule)handle;
	return CUDA_SUCCESS;
}

CUresult sim_cuLibraryGetGlobal(CUdeviceptr *addr, size_t *size, CUlibrary handle, const char *name)
{
	return global_of(module_of(handle), name, addr, size);
}

CUresult sim_cuLibraryGetManaged(
	CUdeviceptr *addr, size_t *size, CUlibrary handle, const char *name)
{
	return CUDA_ERROR_NOT_FOUND;
}

CUresult sim_cuKernelGetFunction(CUfunction *ret, CUkernel kernel)
{
	if (!ret || !sim_function_of((CUfunction)kernel))
		return CUDA_ERROR_INVALID_HANDLE;
	*ret = (CUfunction)kernel;
	return CUDA_SUCCESS;
}

CUresult sim_cuKernelGetLibrary(CUlibrary *ret, CUkernel kernel)
{
	struct sim_function *f = sim_function_of((CUfunction)kernel);

	if (!ret || !f)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret = (CUlibrary)f->module;
	return CUDA_SUCCESS;
}

CUresult sim_cuFuncGetModule(CUmodule *ret, CUfunction function)
{
	return sim_cuKernelGetLibrary((CUlibrary *)ret, (CUkernel)function);
}

/* ---- names, layouts, attributes ---- */

CUresult sim_cuFuncGetName(const char **name, CUfunction function)
{
	struct sim_function *f = sim_function_of(function);

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	*name = f->kernel->name;
	return CUDA_SUCCESS;
}

CUresult sim_cuKernelGetName(const char **name, CUkernel kernel)
{
	return sim_cuFuncGetName(name, (CUfunction)kernel);
}

CUresult sim_cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *size)
{
	struct sim_function *f = sim_function_of(function);

	if (sim_config.no_param_info)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!offset)
		return CUDA_ERROR_INVALID_VALUE;
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	if (index >= f->kernel->n_params)
		return CUDA_ERROR_INVALID_VALUE;
	*offset = f->kernel->params[index].offset;
	if (size)
		*size = f->kernel->params[index].size;
	return CUDA_SUCCESS;
}

CUresult sim_cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *size)
{
	return sim_cuFuncGetParamInfo((CUfunction)kernel, index, offset, size);
}

CUresult sim_cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function)
{
	if (!state)
		return CUDA_ERROR_INVALID_VALUE;
	if (!sim_function_of(function))
		return CUDA_ERROR_INVALID_HANDLE;
	*state = CU_FUNCTION_LOADING_STATE_LOADED;
	return CUDA_SUCCESS;
}

CUresult sim_cuFuncLoad(CUfunction function)
{
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
	struct sim_function *f = sim_function_of(function);

	if (!value || (unsigned)attribute >= CU_FUNC_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	switch (attribute) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = 1024;
		break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = f->kernel->registers ? (int)f->kernel->registers : 32;
		break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = f->module->image->sm ? f->module->image->sm : sim_config.cc;
		break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = f->attributes[attribute] ? f->attributes[attribute] : 49152;
		break;
	default:
		*value = f->attributes[attribute];
	}
	return CUDA_SUCCESS;
}

CUresult sim_cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value)
{
	struct sim_function *f = sim_function_of(function);

	if ((unsigned)attribute < CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ||
		(unsigned)attribute >= CU_FUNC_ATTRIBUTE_MAX)
		return CUDA_ERROR_INVALID_VALUE;
	if (!f)
		return CUDA_ERROR_INVALID_HANDLE;
	f->attributes[attribute] = value;
	return CUDA_SUCCESS;
}

CUresult sim_cuFuncSetCacheConfig(CUfunction function, CUfunc_cache config)
{
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuFuncSetSharedMemConfig(CUfunction function, CUsharedconfig config)
{
	return sim_function_of(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult sim_cuKernelGetAttribute(
	int *value, CUfunction_attribute attribute, CUkernel kernel, CUdevice dev)
{
	if (!sim_device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return sim_cuFuncGetAttribute(value, attribute, (CUfunction)kernel);
}

CUresult sim_cuKernelSetAttribute(
	CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice dev)
{
	if (!sim_device_of(dev))
		return CUDA_ERROR_INVALID_DEVICE;
	return sim_cuFuncSetAttribute((CUfunction)kernel, attribute, value);
}

CUresult sim_cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
	return sim_cuFuncSetCacheConfig((CUfunction)kernel, config);
}
