# SPDX-License-Identifier: Apache-2.0
"""kvshim.h in ctypes: structures, functions, errors. Nothing is compiled, nothing is linked.

The functions are found in the running process, where LD_PRELOAD has put them. Without the shim each of them answers
ABSENT, and a program runs the same.
"""
from __future__ import annotations

import ctypes
from ctypes import c_char, c_char_p, c_int, c_int32, c_int64, c_uint32, c_uint64, POINTER
from typing import Any, Callable

ERRORS = {
    -1: ("ABSENT", "the shim is not in this process"),
    -2: ("INERT", "the shim does nothing in this process: switched off, forked, or no driver"),
    -3: ("INVALID", "an argument makes no sense"),
    -4: ("FOREIGN", "the address is not in memory that the shim manages"),
    -5: ("OVERLAP", "the geometry overlaps itself or another region"),
    -6: ("BOUNDS", "the geometry reaches beyond the allocation, or overflows"),
    -7: ("UNKNOWN", "there is no such region, block, pool, model, cache or tag"),
    -8: ("NO_MEMORY", "there is no memory"),
    -9: ("TIMEOUT", "it did not become possible in time"),
    -10: ("BUSY", "not now: a capture is open, or others hold the memory"),
    -11: ("GONE", "the memory was freed, or its region has become static"),
    -12: ("TOO_LONG", "longer than the model's longest sequence"),
    -13: ("LIMIT", "the model's maximum is reached"),
    -14: ("DEVICE", "the driver failed, or there is no such device"),
    -15: ("UNSUPPORTED", "this version of the shim cannot do that"),
    -16: ("IN_USE", "something of it is still in use"),
    -17: ("UNDERFLOW", "more was popped than pushed"),
}
ABSENT, INERT, FOREIGN, UNKNOWN = -1, -2, -4, -7


class Error(Exception):
    """What the shim answered. `code` is the number, `name` its short name.

    >>> Error(-8).name, str(Error(-8))
    ('NO_MEMORY', 'there is no memory')
    """

    def __init__(self, code: int) -> None:
        self.code = code
        self.name, text = ERRORS.get(code, (str(code), "an error that this module does not know"))
        super().__init__(text)


class Structure(ctypes.Structure):
    """One that begins with its size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.size = ctypes.sizeof(self)

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name, *_ in self._fields_ if name not in ("size", "unused")}
        return {name: value.decode(errors="replace") if isinstance(value, bytes) else value
                for name, value in values.items()}


def _fields(wide: str) -> list[tuple[str, Any]]:
    return [(name, c_uint64) for name in ["size", *wide.split()]]


class Range(ctypes.Structure):
    _fields_ = [("address", c_uint64), ("stride", c_uint64), ("bytes", c_uint64)]


class RegionDesc(Structure):
    _fields_ = [*_fields("n_blocks n_ranges"), ("ranges", POINTER(Range)), ("flags", c_uint32),
                ("watchdog_ms", c_uint32), ("name", c_char * 32)]


class RegionStats(Structure):
    _fields_ = [*_fields("n_blocks live waiting touched released wanted backed"), ("is_static", c_uint32),
                ("unused", c_uint32)]


class Quota(Structure):
    _fields_ = _fields("backed growth limit generation")


class Stats(Structure):
    _fields_ = _fields(
        "reserved backed backed_peak evicted spilled spare native native_peak host_budget reservations "
        "reservations_static pages_backed pages_released pages_evicted pages_restored pages_spilled driver_calls "
        "submissions quiesces quiesce_timeouts quiesce_ns_max refused passed last_submission_ns waits "
        "wait_timeouts wait_ns wait_ns_max pages_promoted pages_not_copied pages_ahead pages_ahead_used evictions "
        "evicted_bytes evict_ns restores restored_bytes restore_ns reclaims reclaimed_bytes denied host_taken "
        "submitted launches launch_ns_p50 launch_ns_p99 last_activity_ns min max host_limit weight idle_ms state")


class Reservation(Structure):
    _fields_ = [*_fields("base requested reserved backed backed_peak evicted spilled page_size wanted created_ns"),
                ("static_reason", c_uint32), ("priority", c_int32), ("is_managed", c_uint32),
                ("is_paused", c_uint32), ("static_by", c_char * 128), ("tag", c_char * 32)]


class PoolDesc(Structure):
    _fields_ = [*_fields("capacity"), ("flags", c_uint32), ("unused", c_uint32), ("name", c_char * 32)]


class ModelDesc(Structure):
    _fields_ = [("size", c_uint64), ("layers", c_uint32), ("kv_heads", c_uint32), ("head_size", c_uint32),
                ("element_bytes", c_uint32), ("token_bytes", c_uint64), ("max_tokens", c_uint64),
                ("min_bytes", c_uint64), ("max_bytes", c_uint64), ("name", c_char * 64)]


class Cache(Structure):
    _fields_ = _fields("id address tokens room is_short")


class PoolStats(Structure):
    _fields_ = _fields("capacity used used_peak largest_free n_caches n_free wanted ahead requests waits degraded "
                       "failed hits misses")


class ModelStats(Structure):
    _fields_ = [*_fields("token_bytes min_bytes max_bytes used used_peak n_caches requests degraded failed tokens"),
                ("name", c_char * 64)]


_out = POINTER(c_uint64)
_SIGNATURES: dict[str, list[Any]] = {
    "version": [], "active": [],
    "tag_push": [c_char_p, c_int, c_int], "tag_pop": [],
    "tag_pause": [c_char_p, c_int, _out], "tag_resume": [c_char_p, _out],
    "region_declare": [POINTER(RegionDesc), _out], "region_end": [c_uint64],
    "touch": [c_uint64, POINTER(c_int64), c_int64], "release": [c_uint64, POINTER(c_int64), c_int64, c_int],
    "touch_bytes": [c_uint64, c_uint64, c_int64], "release_bytes": [c_uint64, c_uint64, c_int64],
    "step": [c_uint64], "region_stats_get": [c_uint64, POINTER(RegionStats)],
    "quota_get": [c_int, POINTER(Quota)], "quota_fd": [c_int],
    "stats_get": [c_int, POINTER(Stats)], "reservation_next": [c_uint64, POINTER(Reservation)],
    "pool_create": [POINTER(PoolDesc), _out], "pool_destroy": [c_uint64],
    "model_register": [c_uint64, POINTER(ModelDesc), _out], "model_unregister": [c_uint64],
    "cache_alloc": [c_uint64, c_int64, c_int, c_uint32, POINTER(Cache)],
    "cache_extend": [c_uint64, c_int64, c_int, c_uint32, POINTER(Cache)], "cache_free": [c_uint64],
    "pool_stats_get": [c_uint64, POINTER(PoolStats)], "model_stats_get": [c_uint64, POINTER(ModelStats)],
    "pool_rebalance": [c_uint64],
}


def _absent(*_: Any) -> int:
    return ABSENT


def _find(name: str) -> Callable[..., int]:
    try:
        function = getattr(ctypes.CDLL(None), "kvshim_" + name)
    except (AttributeError, OSError):
        return _absent
    function.argtypes, function.restype = _SIGNATURES[name], c_int
    return function


_found: dict[str, Callable[..., int]] = {}


def call(name: str, *arguments: Any, quiet: tuple[int, ...] = (ABSENT, INERT)) -> int:
    """Calls kvshim_<name>. Raises Error, except for the codes in `quiet`, which are returned."""
    if name not in _found:
        _found[name] = _find(name)
    code = _found[name](*arguments)
    if code < 0 and code not in quiet:
        raise Error(code)
    return code
