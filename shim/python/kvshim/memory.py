# SPDX-License-Identifier: Apache-2.0
"""Device memory as an array: __cuda_array_interface__ (CuPy, Numba, PyTorch) and DLPack (also JAX)."""
from __future__ import annotations

import ctypes
import sys
from ctypes import c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint64, c_void_p, POINTER
from typing import Any

_CODES = {"i": 0, "u": 1, "f": 2}
_CUDA = 2


class _Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("device_type", c_int32), ("device_id", c_int32), ("ndim", c_int32),
                ("code", c_uint8), ("bits", c_uint8), ("lanes", c_uint16), ("shape", POINTER(c_int64)),
                ("strides", POINTER(c_int64)), ("byte_offset", c_uint64)]


class _Managed(ctypes.Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", c_void_p), ("deleter", _DELETER)]

# What a consumer holds, by the address of its structure: freed by the deleter, which may run in any thread. A capsule
# has no destructor of ours: one is called while an exception is on its way (when a consumer refuses the device), and
# no code in Python can run then without losing it. So a capsule that nobody took is found later, by _sweep().
_held: dict[int, tuple[Any, Any, Any, Any]] = {}


def _delete(managed: Any) -> None:
    _held.pop(ctypes.addressof(managed.contents), None)


_deleter = _DELETER(_delete)

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.argtypes, _new_capsule.restype = [c_void_p, ctypes.c_char_p, c_void_p], ctypes.py_object
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int


def _sweep() -> None:
    """Lets go of capsules that only we still have, and that nobody consumed: those have another name."""
    for where, held in list(_held.items()):
        # One reference is the tuple's, one the call's.
        if sys.getrefcount(held[3]) == 2 and _is_valid(held[3], b"dltensor"):
            _held.pop(where, None)


class DeviceMemory:
    """A packed array on the device. dtype as in the array interface: "<f2", "<i4", ...

    >>> memory = DeviceMemory(0x7f0000000000, (2, 3), "<f2")
    >>> memory.__cuda_array_interface__["shape"], memory.nbytes
    ((2, 3), 12)
    >>> memory.__dlpack_device__()
    (2, 0)
    """

    def __init__(self, address: int, shape: tuple[int, ...], dtype: str, *, device: int = 0, owner: Any = None) -> None:
        if dtype[:1] not in "<|" or dtype[1:2] not in _CODES or any(length < 0 for length in shape):
            raise ValueError("a shape, and a type like '<f2'")
        self.address, self.shape, self.dtype, self.device, self.owner = address, tuple(shape), dtype, device, owner
        self.itemsize = int(dtype[2:])
        self.nbytes = self.itemsize
        for length in self.shape:
            self.nbytes *= length

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype, "data": (self.address, False), "version": 3,
                "strides": None, "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CUDA, self.device

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: tuple[int, int] | None = None,
                   copy: bool | None = None) -> Any:
        """The memory itself, where it is (else BufferError), as DLPack before 1.0 has it. Streams are the caller's to
        order: nothing is pending on this memory."""
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("neither copied nor moved")
        managed = _Managed()
        shape = (c_int64 * len(self.shape))(*self.shape)
        managed.tensor = _Tensor(self.address, _CUDA, self.device, len(self.shape), _CODES[self.dtype[1]],
                                 self.itemsize * 8, 1, ctypes.cast(shape, POINTER(c_int64)), None, 0)
        managed.deleter = _deleter
        where = ctypes.addressof(managed)
        _sweep()
        capsule = _new_capsule(where, b"dltensor", None)
        _held[where] = (managed, shape, self, capsule)
        return capsule
