# SPDX-License-Identifier: Apache-2.0
"""A cache of Hugging Face Transformers whose memory comes from a kvshim pool. Needs transformers 4.56 or later.

    pool = kvshim.Pool(16 << 30)
    llama = pool.model("llama", layers=32, kv_heads=8, head_size=128, element_bytes=2, max_tokens=32768)
    with PoolCache(llama, layers=32) as cache:
        model.generate(**inputs, past_key_values=cache)

Written against the interface of caches as Transformers documents it: a Cache is a list of layers, each of which has
update(), get_seq_length(), get_max_cache_shape(), get_mask_sizes() and what generation with beams and assistants asks
for. Only full attention: a model with sliding windows or states of another kind needs its own layers.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers.cache_utils import Cache as _Cache
from transformers.cache_utils import CacheLayerMixin as _Layer

from . import Cache as _Piece
from . import Error, Model
from .memory import DeviceMemory

__all__ = ["PoolCache", "PoolLayer"]

_SHORT = (-8, -13)  # NO_MEMORY, LIMIT


def _as_tensor(memory: DeviceMemory, like: Any) -> Any:
    """Device memory as a tensor of `like`'s type, on its device; nothing is copied."""
    import torch

    return torch.as_tensor(memory, device=like.device).view(like.dtype)


def _element_bytes(states: Any) -> int:
    size = getattr(states, "element_size", None)
    return size() if callable(size) else states.itemsize


class _Store:
    """One piece of the pool: [token][sequence][layer][key, value][head][element]. It grows at its end: in place as long
    as nothing lies behind it, else by moving."""

    def __init__(self, model: Model, step: int, short: tuple[str, int],
                 as_array: Callable[[DeviceMemory, Any], Any]) -> None:
        self.model, self.step, self.short, self.as_array = model, step, short, as_array
        self.layers: list[PoolLayer] = []
        self.piece: _Piece | None = None
        self.array: Any = None
        self.like: Any = None
        self.batch, self.heads, self.head_size, self.room = 0, 0, 0, 0

    def begin(self, states: Any) -> None:
        """What the tensors are like is known with the first of them."""
        if self.like is not None:
            return
        batch, heads, _, head_size = states.shape
        needed = len(self.layers) * 2 * heads * head_size * _element_bytes(states)
        if needed != self.model.token_bytes:
            raise ValueError(f"a token of this model has {needed} bytes, {self.model.token_bytes} are registered")
        self.batch, self.heads, self.head_size, self.like = batch, heads, head_size, states[:0]

    def _array(self, piece: _Piece, batch: int) -> Any:
        size = _element_bytes(self.like)
        shape = (piece.tokens // batch, batch, len(self.layers), 2, self.heads, self.head_size)
        return self.as_array(piece.memory(shape, f"<i{size}" if size > 1 else "|i1"), self.like)

    def _rounded(self, tokens: int, batch: int) -> int:
        most = self.model.max_tokens // batch
        return max(tokens, min(most, -(-tokens // self.step) * self.step))

    def _extend(self, tokens: int, when_short: str = "fail", timeout_ms: int = 0) -> None:
        self.piece.extend(tokens * self.batch, when_short, timeout_ms)
        self.array, self.room = self._array(self.piece, self.batch), tokens

    def _move(self, tokens: int, batch: int, choose: Callable[[Any], Any] = lambda old: old,
              when_short: str = "fail", timeout_ms: int = 0) -> None:
        """To another piece; choose() says which sequences, given [token][sequence]..."""
        kept = max(layer.get_seq_length() for layer in self.layers)
        piece = self.model.cache(tokens * batch, when_short, timeout_ms)
        try:
            array = self._array(piece, batch)
            if kept:
                array[:kept] = choose(self.array[:kept])
        except BaseException:
            piece.close()
            raise
        old, self.piece, self.array, self.batch, self.room = self.piece, piece, array, batch, tokens
        for layer in self.layers:
            layer.show()
        if old is not None:
            old.close()

    def ensure(self, tokens: int) -> None:
        """Room for so many tokens of each sequence. Raises kvshim.Error, then nothing has changed."""
        wanted = self._rounded(tokens, self.batch)
        if tokens <= self.room:
            return
        if self.piece is None:
            self._move(wanted, self.batch, when_short=self.short[0], timeout_ms=self.short[1])
            return
        # In place; else elsewhere; else in place and not more than is needed, for which it may wait.
        ways = [(self._extend, wanted), (lambda n: self._move(n, self.batch), wanted),
                (lambda n: self._extend(n, *self.short), tokens)]
        for i, (way, n) in enumerate(ways):
            try:
                way(n)
                return
            except Error as error:
                if error.code not in _SHORT or i == len(ways) - 1:
                    raise

    def choose(self, batch: int, which: Callable[[Any], Any]) -> None:
        """Other sequences than before."""
        tokens = max(layer.get_seq_length() for layer in self.layers)
        if tokens:
            self._move(self._rounded(tokens, batch), batch, which, *self.short)
        else:
            self.close()

    def close(self) -> None:
        piece, self.piece, self.array, self.like, self.room = self.piece, None, None, None, 0
        if piece is not None:
            piece.close()


class PoolLayer(_Layer):
    """Keys and values of one layer, each as [sequence][head][token][element]: views of the cache's memory."""

    is_compileable = False
    is_sliding = False

    def __init__(self, store: _Store, index: int) -> None:
        super().__init__()
        self._store, self._index, self._length = store, index, 0

    def lazy_initialization(self, key_states: Any, value_states: Any = None) -> None:
        self._store.begin(key_states)
        self.dtype, self.device = key_states.dtype, getattr(key_states, "device", None)
        self.is_initialized = True

    def _pair(self, first: int, end: int) -> tuple[Any, Any]:
        both = self._store.array[first:end, :, self._index].swapaxes(0, 1)
        return both[:, :, 0].swapaxes(1, 2), both[:, :, 1].swapaxes(1, 2)

    def show(self) -> None:
        """keys and values are views of what is stored now."""
        self.keys, self.values = self._pair(0, self._length) if self._length else (None, None)

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Appends, and returns all keys and values so far. kvshim.Error when memory is short: nothing is appended."""
        if not self.is_initialized or self._store.like is None:
            self.lazy_initialization(key_states, value_states)
        if key_states.shape[0] != self._store.batch:
            raise ValueError(f"{key_states.shape[0]} sequences, the cache has {self._store.batch}")
        end = self._length + key_states.shape[-2]
        self._store.ensure(end)
        keys, values = self._pair(self._length, end)
        keys[...], values[...] = key_states, value_states
        self._length = end
        self.show()
        return self.keys, self.values

    def get_seq_length(self, *_: Any) -> int:
        return self._length

    def get_max_cache_shape(self) -> int:
        return self._store.model.max_tokens // max(1, self._store.batch)

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """Length and offset of what the next query sees. query: its length, or its positions (before 5.0)."""
        return self._length + (query if isinstance(query, int) else query.shape[0]), 0

    def crop(self, max_length: int) -> None:
        """Forgets the tail: all tokens from max_length on, or as many as it is below zero. The memory stays."""
        if max_length < 0:
            max_length = max(0, self._length + max_length)
        self._length = min(self._length, max_length)
        self.show()

    def reset(self) -> None:
        """Forgets everything; the memory stays."""
        self.crop(0)

    def reorder_cache(self, beam_idx: Any) -> None:
        """Sequence i becomes what sequence beam_idx[i] was, in place."""
        if self._length:
            if hasattr(beam_idx, "to"):
                beam_idx = beam_idx.to(self.keys.device)
            self.keys[...], self.values[...] = self.keys[beam_idx], self.values[beam_idx]


class PoolCache(_Cache):
    """Keys and values of a batch of sequences, in one piece of a model's pool that grows with them.

    model: kvshim.Model, registered with the bytes per token that the model has over all layers. when_short and
    timeout_ms: as for Model.cache(), without "degrade": `room` tells how long the sequences may become at the moment.
    step: tokens by which it grows. as_array: makes device memory an array like its second argument; PyTorch by default.

    Close it (or use it in a `with` block): its memory goes back to the pool. Caches of one pool are used in one stream,
    or synchronised before they are closed: another sequence may get the memory at once.
    """

    def __init__(self, model: Model, *, layers: int, when_short: str = "fail", timeout_ms: int = 0, step: int = 64,
                 as_array: Callable[[DeviceMemory, Any], Any] = _as_tensor) -> None:
        if when_short not in ("fail", "wait") or layers < 1 or step < 1:
            raise ValueError("when_short is fail or wait; a layer and a step of one token at least")
        self._store = _Store(model, step, (when_short, timeout_ms), as_array)
        self._store.layers = [PoolLayer(self._store, i) for i in range(layers)]
        super().__init__(layers=self._store.layers)

    @property
    def room(self) -> int:
        """Tokens that each sequence could have, if nobody else took memory: for max_length or a stopping criterion."""
        store = self._store
        most = store.model.max_tokens if store.piece is None else max(store.piece.tokens, store.piece.room)
        return min(most, store.model.max_tokens) // max(1, store.batch)

    @property
    def address(self) -> int:
        """Of its memory on the device; 0 before the first update and after close()."""
        return self._store.piece.address if self._store.piece is not None else 0

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each sequence so many times, one after the other."""
        self.batch_select_indices([i for i in range(self._store.batch) for _ in range(repeats)])

    def batch_select_indices(self, indices: Any) -> None:
        """Only these sequences, in this order."""
        self._store.choose(len(indices), lambda old: old[:, indices])

    def close(self) -> None:
        """Gives the memory back. It can be used again, as if it were new."""
        self._store.close()
        for layer in self.layers:
            layer.reset()
            layer.is_initialized = False

    def __enter__(self) -> PoolCache:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
