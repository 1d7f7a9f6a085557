#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kvshim.huggingface over the software GPU. What the arrays hold lies in host memory, laid out by the addresses that
the pool gives (the processor cannot read a device's); the device fills each piece, so that it must be there.

usage: test_huggingface.py standin SOURCE_ROOT    on the documented interface, written down here; NumPy, and PyTorch if
                                                  it is there
       test_huggingface.py real SOURCE_ROOT       a small model of the real package, against its own cache
"""
import functools
import importlib.util
import os
import sys
import threading
import types

SYSTEM_PYTHON = '/usr/bin/python3'  # whose packages the distribution brings


def needs(*names):
    """Under a Python that has them, or not at all."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if sys.executable != SYSTEM_PYTHON and os.access(SYSTEM_PYTHON, os.X_OK) and 'KV_TEST_PYTHON' not in os.environ:
        os.environ['KV_TEST_PYTHON'] = '1'
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
    print('SKIP: no ' + ' and no '.join(missing))
    sys.exit(77)


class CacheLayerMixin:
    """What a layer of a cache has by itself."""

    def __init__(self):
        self.keys = self.values = None
        self.is_initialized = False


class Cache:
    """A list of layers to which calls go on."""

    def __init__(self, layers):
        self.layers = layers

    def update(self, key_states, value_states, layer_idx, cache_kwargs=None):
        return self.layers[layer_idx].update(key_states, value_states, cache_kwargs)

    def get_seq_length(self, layer_idx=0):
        return self.layers[layer_idx].get_seq_length()

    def get_mask_sizes(self, query, layer_idx):
        return self.layers[layer_idx].get_mask_sizes(query)

    def get_max_cache_shape(self, layer_idx=0):
        return self.layers[layer_idx].get_max_cache_shape()

    def reset(self):
        for layer in self.layers:
            layer.reset()

    def crop(self, max_length):
        for layer in self.layers:
            layer.crop(max_length)

    def reorder_cache(self, beam_idx):
        for layer in self.layers:
            layer.reorder_cache(beam_idx)


if sys.argv[1] == 'standin':
    needs('numpy')
    package = types.ModuleType('transformers')
    package.cache_utils = types.ModuleType('transformers.cache_utils')
    package.cache_utils.Cache, package.cache_utils.CacheLayerMixin = Cache, CacheLayerMixin
    sys.modules['transformers'], sys.modules['transformers.cache_utils'] = package, package.cache_utils
else:
    needs('torch', 'transformers')

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import ctypes  # noqa: E402

from test_python import Driver, check, kvshim, refuses  # noqa: E402

from kvshim.huggingface import PoolCache  # noqa: E402

MIB = 1 << 20
LAYERS, HEADS, SIZE = 3, 2, 16
TOKEN = LAYERS * 2 * HEADS * SIZE * 4  # 768 bytes


shadows = {}  # host memory by reservation


def host_bytes(memory):
    """What stands for a piece of a pool. Two pieces that overlap would overlap here."""
    row = next(r for r in kvshim.reservations() if r['base'] <= memory.address < r['base'] + r['reserved'])
    shadow = shadows.setdefault((row['base'], row['created_ns']), bytearray(row['reserved']))
    assert driver.cuda.cuMemsetD8_v2(ctypes.c_uint64(memory.address), ctypes.c_uint8(1),
                                     ctypes.c_size_t(memory.nbytes)) == 0
    assert driver.cuda.cuCtxSynchronize() == 0
    offset = memory.address - row['base']
    return memoryview(shadow)[offset:offset + memory.nbytes]


class NumPy:
    """What the tests do with arrays."""
    name = 'NumPy'

    def __init__(self):
        import numpy
        self.module = numpy
        self.random = numpy.random.default_rng(1)

    def states(self, batch, tokens):
        return self.random.random((batch, HEADS, tokens, SIZE), dtype=self.module.float32)

    def join(self, a, b):
        return self.module.concatenate([a, b], axis=2)

    def same(self, a, b):
        return self.module.array_equal(a, b)

    def index(self, values):
        return self.module.array(values)

    def as_array(self, memory, like):
        return self.module.frombuffer(host_bytes(memory), dtype=like.dtype).reshape(memory.shape)


class Torch(NumPy):
    name = 'PyTorch'

    def __init__(self):
        import torch
        self.module = torch
        torch.manual_seed(1)

    def states(self, batch, tokens):
        return self.module.rand(batch, HEADS, tokens, SIZE)

    def join(self, a, b):
        return self.module.cat([a, b], dim=2)

    def same(self, a, b):
        return self.module.equal(a, b)

    def index(self, values):
        return self.module.tensor(values)

    def as_array(self, memory, like):
        return self.module.frombuffer(host_bytes(memory), dtype=like.dtype).reshape(memory.shape)


class Both:
    """A cache of the pool, and beside it what each layer must hold."""

    def __init__(self, arrays, model, batch, **options):
        self.arrays, self.batch = arrays, batch
        self.cache = PoolCache(model, layers=LAYERS, as_array=arrays.as_array, **options)
        self.wanted = [None] * LAYERS

    def add(self, tokens):
        """A forward pass. Whether all that comes back is right."""
        right = True
        for i in range(LAYERS):
            new = [self.arrays.states(self.batch, tokens) for _ in range(2)]
            got = self.cache.update(*new, i, {'cache_position': None})
            old = self.wanted[i]
            self.wanted[i] = new if old is None else [self.arrays.join(a, b) for a, b in zip(old, new)]
            right &= all(self.arrays.same(a, b) for a, b in zip(got, self.wanted[i]))
        return right

    def change(self, how):
        self.wanted = [[how(a) for a in pair] for pair in self.wanted]

    def right(self):
        return all(self.arrays.same(layer.keys, pair[0]) and self.arrays.same(layer.values, pair[1])
                   for layer, pair in zip(self.cache.layers, self.wanted))


def model_of(pool, **more):
    return pool.model('llama', layers=LAYERS, kv_heads=HEADS, head_size=SIZE, element_bytes=4,
                      **{'max_tokens': 1 << 20, **more})


def grows(arrays):
    with kvshim.Pool(8 * MIB) as pool:
        model = model_of(pool)
        one = Both(arrays, model, 2)
        check(one.cache.get_mask_sizes(5, 0) == (5, 0) and one.cache.address == 0, 'a new cache is empty')
        check(one.add(37) and all(one.add(1) for _ in range(100)), 'a prompt and a hundred tokens come back')
        check(one.cache.get_seq_length() == 137 and one.cache.get_mask_sizes(4, 1) == (141, 0)
              and one.cache.get_max_cache_shape() == 1 << 19, 'lengths are told')
        at = one.cache.address
        two = Both(arrays, model, 1)
        check(two.add(10) and one.add(400) and one.right(), 'with a neighbour behind it, too')
        check(one.cache.address != at and pool.stats()['n_caches'] == 2, 'it has moved, and left nothing behind')
        at = two.cache.address
        check(two.add(3) and two.cache.address == at and two.right(), 'the neighbour has not')
        one.cache.close()
        two.cache.close()
        check(pool.stats()['used'] == 0, 'closed ones give everything back')
        one.batch, one.wanted = 3, [None] * LAYERS
        check(one.add(5), 'and can be used again')
        one.cache.close()


def is_short(arrays):
    with kvshim.Pool(2 * MIB) as pool:
        model = model_of(pool)
        most = 2 * MIB // TOKEN
        one = Both(arrays, model, 1)
        check(one.add(most - 200), 'one takes nearly all')
        two = Both(arrays, model, 1)
        check(refuses('NO_MEMORY', lambda: two.add(500)) and two.cache.get_seq_length() == 0, 'a new one may not fit')
        check(refuses('NO_MEMORY', lambda: one.add(500)) and one.right(), 'a grown one stays what it was')
        check(one.cache.room == most and one.add(most - one.cache.get_seq_length()), 'its room is what it can have')
        three = Both(arrays, model, 1, when_short='wait', timeout_ms=60000)
        timer = threading.Timer(0.05, one.cache.close)
        timer.start()
        check(three.add(500), 'one that waits gets what another one gives back')
        timer.join()
        hasty = Both(arrays, model, 1, when_short='wait', timeout_ms=10)
        check(refuses('TIMEOUT', lambda: hasty.add(most)), 'not for ever')
        three.cache.close()
    with kvshim.Pool(2 * MIB) as pool:
        limited = Both(arrays, model_of(pool, max_tokens=100, max_bytes=64 * TOKEN), 1)
        check(limited.add(60) and limited.add(4), 'as far as the maximum')
        check(refuses('LIMIT', lambda: limited.add(1)) and limited.right(), 'and no further')
        check(refuses('TOO_LONG', lambda: limited.add(50)) and limited.right(), 'nor longer than the model can')
        limited.cache.close()


def changes(arrays):
    with kvshim.Pool(8 * MIB) as pool:
        model = model_of(pool)
        it = Both(arrays, model, 2)
        it.add(20)
        it.cache.crop(15)
        it.change(lambda a: a[:, :, :15])
        check(it.right() and it.add(2), 'a tail is forgotten')
        it.cache.crop(-3)
        it.change(lambda a: a[:, :, :14])
        check(it.right() and it.cache.get_seq_length() == 14, 'also counted from the end')
        it.cache.reorder_cache(arrays.index([1, 1]))
        it.change(lambda a: a[[1, 1]])
        check(it.right(), 'beams are reordered')
        it.add(1)
        it.cache.batch_repeat_interleave(2)
        it.batch = 4
        it.change(lambda a: a[[0, 0, 1, 1]])
        check(it.right() and it.add(3), 'sequences are repeated')
        it.cache.batch_select_indices(arrays.index([3, 0]))
        it.batch = 2
        it.change(lambda a: a[[3, 0]])
        check(it.right() and it.add(1), 'and chosen')
        it.cache.reset()
        it.wanted = [None] * LAYERS
        check(it.cache.get_seq_length() == 0 and it.add(4), 'a reset one begins again')
        it.cache.close()
        check(pool.stats()['n_caches'] == 0, 'nothing is left')


def refusals(arrays):
    def fails(call):
        try:
            call()
        except ValueError:
            return True
        return False

    with kvshim.Pool(2 * MIB) as pool:
        wrong = pool.model('wrong', token_bytes=TOKEN + 4, max_tokens=100)
        check(fails(lambda: Both(arrays, wrong, 1).add(1)), 'bytes per token that do not fit are refused')
        model = model_of(pool)
        it = Both(arrays, model, 1)
        it.add(1)
        it.batch = 2
        check(fails(lambda: it.add(1)), 'another number of sequences, too')
        check(fails(lambda: PoolCache(model, layers=3, when_short='degrade')), 'and what it cannot do')
        it.cache.close()


def example():
    """The one at the head of the module, as it stands. Arrays are anywhere: what they hold is looked at above."""
    import numpy

    class Model:
        """Two passes of a model that has what the example says."""

        def generate(self, past_key_values, prompt):
            for tokens in (prompt, 1):
                for i in range(32):
                    new = numpy.ones((1, 8, tokens, 128), dtype=numpy.float16)
                    keys, _ = past_key_values.update(new, new, i)
            check(keys.shape == (1, 8, prompt + 1, 128) and past_key_values.get_seq_length() == prompt + 1,
                  'the example at the head of the module')

    lines = sys.modules['kvshim.huggingface'].__doc__.splitlines()
    names = {'kvshim': kvshim, 'model': Model(), 'inputs': {'prompt': 5}, 'PoolCache': functools.partial(
        PoolCache, as_array=lambda memory, like: numpy.zeros(memory.shape, like.dtype))}
    exec('\n'.join(line[4:] for line in lines if line.startswith('    ')), names)
    names['pool'].close()


def standin():
    example()
    for kind in (NumPy, Torch):
        if kind is Torch and importlib.util.find_spec('torch') is None:
            print('no PyTorch here')
            continue
        arrays = kind()
        print(f'{arrays.name} {arrays.module.__version__}')
        for test in (grows, is_short, changes, refusals):
            test(arrays)


def real():
    """The same tokens as with the package's own cache."""
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS,
                                         num_attention_heads=4, num_key_value_heads=HEADS, vocab_size=99)).eval()
    prompt = torch.randint(0, 99, (2, 12))
    arrays = Torch()
    for options in ({'do_sample': False}, {'num_beams': 2, 'do_sample': False}):
        options |= {'max_new_tokens': 40, 'pad_token_id': 0, 'eos_token_id': None,
                    'attention_mask': torch.ones_like(prompt)}
        plain = model.generate(prompt, past_key_values=DynamicCache(), **options)
        with kvshim.Pool(8 * MIB) as pool:
            with PoolCache(model_of(pool), layers=LAYERS, as_array=arrays.as_array) as cache:
                check(torch.equal(model.generate(prompt, past_key_values=cache, **options), plain),
                      'the same tokens as with the package\'s own cache')


driver = Driver()
{'standin': standin, 'real': real}[sys.argv[1]]()
driver.end()
