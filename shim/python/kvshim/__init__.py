# SPDX-License-Identifier: Apache-2.0
"""Elastic GPU memory for Python programs: what kvshim.h offers, by ctypes.

A program that imports this runs the same without the shim (`LD_PRELOAD=libkvshim.so`): tags and hints then do
nothing, pools cannot be made.

>>> import kvshim
>>> kvshim.active()                       # not in this process
False
>>> with kvshim.tag("kv"):                # allocations of this thread become elastic
...     pass                              # e.g. torch.empty(..., device="cuda")
"""
from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _c
from ._c import Error
from .memory import DeviceMemory

__all__ = ["active", "version", "tag", "pause", "resume", "Region", "Pool", "Model", "Cache", "DeviceMemory", "stats",
           "reservations", "quota", "quota_fd", "Error", "KEEP", "LAZY", "EAGER", "NATIVE"]

KEEP, LAZY, EAGER, NATIVE = 0, 1, 2, 3
_SHORT = {"fail": 0, "wait": 1, "degrade": 2}


def version() -> int | None:
    """The interface's version in the shim that is loaded; None without it."""
    code = _c.call("version")
    return code if code > 0 else None


def active() -> bool:
    """True if the shim works in this process (after its first driver call)."""
    return _c.call("active") == 1


@contextmanager
def tag(name: str, mode: int = LAZY, priority: int = 128) -> Iterator[None]:
    """Allocations of this thread inside the block carry the tag. See kvshim_tag_push().

    >>> with tag("weights", EAGER, priority=255):
    ...     pass
    """
    pushed = _c.call("tag_push", name.encode(), mode, priority) == 0
    try:
        yield
    finally:
        if pushed:
            _c.call("tag_pop")


def pause(name: str, keep: bool = True) -> int:
    """Puts all memory with the tag away; returns the device bytes released. See kvshim_tag_pause()."""
    released = ctypes.c_uint64(0)
    _c.call("tag_pause", name.encode(), int(keep), released)
    return released.value


def resume(name: str) -> int:
    """Back again; returns the device bytes mapped."""
    mapped = ctypes.c_uint64(0)
    _c.call("tag_resume", name.encode(), mapped)
    return mapped.value


def _blocks(blocks: Iterable[int]) -> tuple[Any, int]:
    listed = list(blocks)
    return (ctypes.c_int64 * len(listed))(*listed), len(listed)


class Region:
    """Which blocks of a cache live. See kvshim_region_declare().

    ranges: (address, stride, bytes) of each piece that a block has, or objects with
    __cuda_array_interface__, one per layer, whose first axis counts blocks.

    >>> region = Region("kv", 100, [(0x7f0000000000, 65536, 65536)])
    >>> bool(region)                      # without the shim, or for memory that is not its own
    False
    >>> region.touch([1, 2, 3]); region.release([1, 2, 3]); region.close()
    """

    def __init__(self, name: str, n_blocks: int, ranges: Iterable[Any], *, keep: bool = False, part: bool = False,
                 watchdog_ms: int = 0) -> None:
        pieces = [self._range(item, n_blocks) for item in ranges]
        array = (_c.Range * len(pieces))(*pieces)
        desc = _c.RegionDesc(n_blocks=n_blocks, n_ranges=len(pieces), ranges=array, flags=int(keep) | int(part) << 1,
                             watchdog_ms=watchdog_ms, name=name.encode()[:31])
        self._id = ctypes.c_uint64(0)
        self.error = _c.call("region_declare", desc, self._id, quiet=(_c.ABSENT, _c.INERT, _c.FOREIGN))

    @staticmethod
    def _range(item: Any, n_blocks: int) -> _c.Range:
        interface = getattr(item, "__cuda_array_interface__", None)
        if interface is None:
            return _c.Range(*item)
        shape, strides = interface["shape"], interface.get("strides")
        if shape[0] != n_blocks or (strides is not None and list(strides[1:]) != _packed(interface)[1:]):
            raise ValueError("the first axis must count blocks, the others be packed")
        size = _packed(interface)[0]
        return _c.Range(interface["data"][0], strides[0] if strides is not None else size, size)

    def __bool__(self) -> bool:
        return self.error == 0

    def touch(self, blocks: Iterable[int]) -> None:
        """Before work that uses them is submitted."""
        if self:
            _c.call("touch", self._id, *_blocks(blocks))

    def release(self, blocks: Iterable[int], after_steps: int = 0) -> None:
        """Nobody reads them before they are touched and written again."""
        if self:
            _c.call("release", self._id, *_blocks(blocks), after_steps)

    def step(self) -> None:
        """A step of the engine begins."""
        if self:
            _c.call("step", self._id)

    def stats(self) -> dict[str, Any]:
        """See struct kvshim_region_stats; {} without a region."""
        stats = _c.RegionStats()
        if not self:
            return {}
        _c.call("region_stats_get", self._id, stats)
        return stats.as_dict()

    def close(self) -> None:
        """No more hints."""
        if self:
            self.error = _c.UNKNOWN
            _c.call("region_end", self._id)

    def __enter__(self) -> Region:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _packed(interface: dict[str, Any]) -> list[int]:
    """Bytes of one element along each axis, if nothing lies between them."""
    step = int(interface["typestr"][2:])
    steps = []
    for length in reversed(interface["shape"]):
        steps.insert(0, step)
        step *= length
    return steps


class Cache:
    """Room for the tokens of one sequence; freed by close() or at the end of a `with` block."""

    def __init__(self, model: Model, tokens: int, when_short: str = "fail", timeout_ms: int = 0) -> None:
        self.model = model
        self._cache = _c.Cache()
        self._open = False
        _c.call("cache_alloc", model.id, tokens, _SHORT[when_short], timeout_ms, self._cache, quiet=())
        self._open = True

    address = property(lambda self: self._cache.address, doc="of its first byte on the device")
    tokens = property(lambda self: self._cache.tokens, doc="that it has room for")
    room = property(lambda self: self._cache.room, doc="tokens that it could be extended to")
    is_short = property(lambda self: bool(self._cache.is_short), doc="less than was asked for")

    def extend(self, tokens: int, when_short: str = "fail", timeout_ms: int = 0) -> None:
        """More room, at the same address."""
        _c.call("cache_extend", self._cache.id, tokens, _SHORT[when_short], timeout_ms, self._cache, quiet=())

    def memory(self, shape: tuple[int, ...], dtype: str) -> DeviceMemory:
        """The cache as an array for NumPy-like libraries; keeps the cache alive."""
        memory = DeviceMemory(self.address, shape, dtype, owner=self)
        if memory.nbytes > self.tokens * self.model.token_bytes:
            raise ValueError("the shape has more bytes than the cache")
        return memory

    def close(self) -> None:
        if self._open:
            self._open = False
            _c.call("cache_free", self._cache.id)

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            try:
                self.close()
            except Error:
                pass  # its pool is gone


class Model:
    """A model of a pool: what a token costs, how long a sequence may be."""

    def __init__(self, pool: Pool, desc: _c.ModelDesc) -> None:
        self.pool = pool
        self.max_tokens: int = desc.max_tokens
        identity = ctypes.c_uint64(0)
        _c.call("model_register", pool.id, desc, identity, quiet=())
        self.id = identity.value
        self.token_bytes: int = self.stats()["token_bytes"]

    def cache(self, tokens: int, when_short: str = "fail", timeout_ms: int = 0) -> Cache:
        """when_short: "fail", "wait" (up to timeout_ms) or "degrade" (as many tokens as fit)."""
        return Cache(self, tokens, when_short, timeout_ms)

    def stats(self) -> dict[str, Any]:
        stats = _c.ModelStats()
        _c.call("model_stats_get", self.id, stats, quiet=())
        return stats.as_dict()

    def close(self) -> None:
        _c.call("model_unregister", self.id)


class Pool:
    """Cache space for several models, on the device of the current context. See kvshim_pool_create().

    >>> try:
    ...     Pool(1 << 30)
    ... except Error as error:
    ...     print(error.name)             # without the shim there is no pool
    ABSENT
    """

    def __init__(self, capacity: int, *, predict: bool = False, name: str = "pool") -> None:
        desc = _c.PoolDesc(capacity=capacity, flags=int(predict), name=name.encode()[:31])
        identity = ctypes.c_uint64(0)
        self.id = 0
        _c.call("pool_create", desc, identity, quiet=())
        self.id = identity.value

    def model(self, name: str, *, max_tokens: int, layers: int = 0, kv_heads: int = 0, head_size: int = 0,
              element_bytes: int = 2, token_bytes: int = 0, min_bytes: int = 0, max_bytes: int = 0) -> Model:
        """token_bytes, or the four figures that make it."""
        return Model(self, _c.ModelDesc(layers=layers, kv_heads=kv_heads, head_size=head_size,
                                        element_bytes=element_bytes, token_bytes=token_bytes, max_tokens=max_tokens,
                                        min_bytes=min_bytes, max_bytes=max_bytes, name=name.encode()[:63]))

    def stats(self) -> dict[str, Any]:
        """See struct kvshim_pool_stats."""
        stats = _c.PoolStats()
        _c.call("pool_stats_get", self.id, stats, quiet=())
        return stats.as_dict()

    def rebalance(self) -> None:
        """Moves the models' limits toward what they use."""
        _c.call("pool_rebalance", self.id, quiet=())

    def close(self) -> None:
        """Its caches must be closed before."""
        if self.id:
            _c.call("pool_destroy", self.id)
            self.id = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def stats(device: int = 0) -> dict[str, Any]:
    """What kvshim-stat shows of this process on a device; {} without the shim.

    >>> stats()
    {}
    """
    answer = _c.Stats()
    return answer.as_dict() if _c.call("stats_get", device, answer) == 0 else {}


def reservations() -> Iterator[dict[str, Any]]:
    """All of this process, by address.

    >>> list(reservations())
    []
    """
    row = _c.Reservation()
    while _c.call("reservation_next", row.base, row, quiet=(_c.ABSENT, _c.INERT, _c.UNKNOWN)) == 0:
        yield row.as_dict()


def quota(device: int = 0) -> dict[str, Any]:
    """How much this process has and could have; {} without the shim."""
    answer = _c.Quota()
    return answer.as_dict() if _c.call("quota_get", device, answer) == 0 else {}


def quota_fd(device: int = 0) -> int | None:
    """A descriptor that is readable when the limit has changed: for select, asyncio's add_reader."""
    fd = _c.call("quota_fd", device)
    return fd if fd > 0 else None
