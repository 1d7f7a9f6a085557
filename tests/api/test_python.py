#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python package: its structures are those of the header, its examples run, and under the shim it works.

usage: test_python.py alone SOURCE_ROOT       without the shim
       test_python.py shimmed SOURCE_ROOT     with it, over the software GPU
"""
import ctypes
import doctest
import gc
import importlib
import importlib.util
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(sys.argv[2])
sys.path.insert(0, str(ROOT / 'shim' / 'python'))
sys.dont_write_bytecode = True
import kvshim  # noqa: E402
from kvshim import _c  # noqa: E402

MIB = 1 << 20


def check(holds, sentence):
    if not holds:
        sys.exit('FAILED: ' + sentence)
    print('ok: ' + sentence)


def layouts():
    """Sizes, offsets and errors against the committed list."""
    names = {'range': _c.Range, 'region_desc': _c.RegionDesc, 'region_stats': _c.RegionStats, 'quota': _c.Quota,
             'stats': _c.Stats, 'reservation': _c.Reservation, 'pool_desc': _c.PoolDesc,
             'model_desc': _c.ModelDesc, 'cache': _c.Cache, 'pool_stats': _c.PoolStats,
             'model_stats': _c.ModelStats}
    symbols = 0
    for line in (ROOT / 'shim' / 'kvshim.abi').read_text(encoding='utf-8').splitlines():
        kind, what, *value = line.split()
        if kind == 'struct':
            assert ctypes.sizeof(names[what[7:]]) == int(value[0]), line
        elif kind == 'field':
            structure, field = what[7:].split('.')
            field = 'unused' if field == 'reserved' and structure in ('region_stats', 'pool_desc') else field
            assert getattr(names[structure], field).offset == int(value[0]), line
        elif kind == 'error':
            assert _c.ERRORS[int(value[0])][0] == what, line
        elif what.startswith('kvshim_'):
            assert what[7:] in _c._SIGNATURES, line
            symbols += 1
    check(symbols == len(_c._SIGNATURES), 'structures, errors and functions are those of the header')


def arrays():
    """The two protocols, with NumPy as consumer: over host memory, since a processor cannot read a device's. What this
    cannot show is what a consumer on a device makes of the address."""
    from kvshim import memory
    try:
        import numpy
    except ImportError:
        if not os.access('/usr/bin/python3', os.X_OK):
            return
        run = subprocess.run(['/usr/bin/python3', __file__, 'arrays', str(ROOT)], check=False)
        check(run.returncode in (0, 77), 'arrays, with the NumPy of the distribution')
        return
    for dtype, shape in (('<f4', (5, 7, 3)), ('<i2', (4,)), ('|u1', (2, 0, 3)), ('<f8', ())):
        wanted = numpy.arange(numpy.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        ours = kvshim.DeviceMemory(wanted.ctypes.data, shape, dtype, owner=wanted)
        # The array interface of NumPy has the same members at version 3.
        same = type('Host', (), {'__array_interface__': ours.__cuda_array_interface__})()
        check(numpy.array_equal(numpy.asarray(same), wanted) and ours.nbytes == wanted.nbytes,
              f'{dtype} {shape}: an array')
        try:
            numpy.from_dlpack(ours)
            check(False, 'NumPy refuses a device')
        except (RuntimeError, BufferError):
            gc.collect()
            memory._sweep()
            check(not memory._held, 'refused by NumPy, nothing is left')
        memory._CUDA = 1  # a host's, for once
        got = numpy.from_dlpack(ours)
        memory._CUDA = 2
        check(got.dtype == wanted.dtype and got.shape == shape and numpy.array_equal(got, wanted), 'and by DLPack')
        got = None
        gc.collect()
        check(not memory._held, 'its consumer lets go of it')
    for options in ({'copy': True}, {'dl_device': (1, 0)}):
        try:
            ours.__dlpack__(**options)
            check(False, 'a copy is refused')
        except BufferError:
            check(not memory._held, f'{options} is refused')
    check(ours.__dlpack__(stream=1, max_version=(1, 0), dl_device=(2, 0), copy=False) is not None,
          'its own device is not')
    memory._sweep()


def arrays_alone():
    if importlib.util.find_spec('numpy') is None:
        print('SKIP: no numpy')
        sys.exit(77)
    arrays()


def alone():
    layouts()
    arrays()
    results = [doctest.testmod(importlib.import_module(name)) for name in ('kvshim', 'kvshim._c', 'kvshim.memory')]
    check(sum(r.attempted for r in results) >= 12 and not any(r.failed for r in results), 'the examples run')
    env = dict(os.environ, PYTHONPATH=str(ROOT / 'shim' / 'python'), PYTHONDONTWRITEBYTECODE='1')
    run = subprocess.run([sys.executable, '-m', 'kvshim'], env=env, text=True, capture_output=True, check=False)
    check(run.returncode == 1 and 'not in this process' in run.stdout, 'python -m kvshim says that there is no shim')


class Driver:
    def __init__(self):
        self.cuda = ctypes.CDLL('libcuda.so.1')
        context, device = ctypes.c_void_p(), ctypes.c_int()
        for result in (self.cuda.cuInit(0), self.cuda.cuDeviceGet(ctypes.byref(device), 0),
                       self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
                       self.cuda.cuCtxSetCurrent(context)):
            assert result == 0
        self.device = device

    def alloc(self, size):
        address = ctypes.c_uint64()
        assert self.cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)) == 0
        return address.value

    def free(self, address):
        assert self.cuda.cuMemFree_v2(ctypes.c_uint64(address)) == 0

    def end(self):
        self.cuda.cuDevicePrimaryCtxRelease_v2(self.device)


def refuses(name, call):
    try:
        call()
    except kvshim.Error as error:
        return error.name == name
    return False


def consume(capsule):
    """What a library does with a DLPack capsule: takes it over, and calls the deleter in the end."""
    from kvshim import memory
    api = ctypes.pythonapi
    api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    where = api.PyCapsule_GetPointer(capsule, b'dltensor')
    consume.name = b'used_dltensor'  # what the name points at must outlive the capsule
    api.PyCapsule_SetName(capsule, consume.name)
    managed = memory._Managed.from_address(where)
    tensor = managed.tensor
    result = (tensor.data, tensor.ndim, [tensor.shape[i] for i in range(tensor.ndim)], tensor.bits, tensor.code)
    managed.deleter(ctypes.pointer(managed))
    return result


def tags_and_numbers(driver):
    with kvshim.tag('kv', kvshim.LAZY, priority=3):
        kv = driver.alloc(2 * MIB)
    check(kvshim.version() == 1 and kvshim.active(), 'the shim is there')
    rows = list(kvshim.reservations())
    check([(r['base'], r['tag'], r['priority']) for r in rows] == [(kv, 'kv', 3)], 'a tag is seen')
    check(kvshim.stats()['reserved'] == 2 * MIB and kvshim.quota()['growth'] == 2 * MIB, 'numbers are read')
    check(kvshim.pause('kv') == 0 and kvshim.resume('kv') == 0, 'a tag is paused and resumed')
    check(refuses('UNKNOWN', lambda: kvshim.pause('nobody')), 'an unknown tag is an error')
    driver.free(kv)


def regions(driver):
    kv = driver.alloc(16 * MIB)
    layer = kvshim.DeviceMemory(kv, (16, 1024, 512), '<f2')
    with kvshim.Region('kv', 16, [layer]) as region:
        region.touch(range(4))
        check(region.stats()['live'] == 4 and region.stats()['wanted'] == 4 * MIB, 'blocks are touched')
        region.release([0, 1], after_steps=1)
        region.step()
        check(region.stats()['live'] == 2 and region.stats()['wanted'] == 2 * MIB, 'and released')
        check(refuses('UNKNOWN', lambda: region.release([0])), 'not twice')
    native = kvshim.Region('kv', 1, [(4096, 1, 1)])
    check(not native and native.touch([0]) is None, 'what is not the shim\'s needs no hint')
    driver.free(kv)


def pools(_):
    from kvshim import memory
    with kvshim.Pool(16 * MIB) as pool:
        llama = pool.model('llama', layers=4, kv_heads=8, head_size=64, max_tokens=4096)
        with llama.cache(100) as cache:
            cache.extend(200)
            array = cache.memory((200, 4, 2, 8, 64), '<f2')
            check(array.__cuda_array_interface__['data'] == (cache.address, False), 'a cache is an array')
            check(consume(array.__dlpack__()) == (cache.address, 5, [200, 4, 2, 8, 64], 16, 2) and not memory._held,
                  'by DLPack too, and its consumer lets go of it')
            capsule = array.__dlpack__()
            memory._sweep()
            check(len(memory._held) == 1, 'a capsule that somebody has is there')
            del capsule
            memory._sweep()
            check(not memory._held, 'one that nobody took is not')
            check(pool.stats()['n_caches'] == 1 and llama.stats()['tokens'] == 200, 'statistics')
        short = llama.cache(4000, 'degrade')
        check(short.is_short and short.tokens == 2048, 'a long one is shortened to the pool')
        check(refuses('TIMEOUT', lambda: llama.cache(1, 'wait', 10)), 'and the next one waits in vain')
        short.close()
        pool.rebalance()


def shimmed():
    driver = Driver()
    for test in (tags_and_numbers, regions, pools):
        test(driver)
    driver.end()


if __name__ == '__main__':
    {'alone': alone, 'arrays': arrays_alone, 'shimmed': shimmed}[sys.argv[1]]()
