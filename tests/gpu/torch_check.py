# SPDX-License-Identifier: Apache-2.0
"""PyTorch on the GPU: what it computes, as checksums, and how long it took.

usage: torch_check.py allocate|graphs|stress|generate

One JSON line. The caller runs it with and without the shim and compares "results"; times are reported, not judged.
Exit 77 with a line where PyTorch, a GPU or Transformers is missing.
"""
import hashlib
import json
import random
import sys
import time


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


try:
    import torch
except ImportError:
    skip("PyTorch is not installed")


def digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def allocate():
    """Big allocations, products of matrices, copies both ways."""
    torch.manual_seed(1)
    a = torch.randn(8192, 8192).cuda()
    b = torch.randn(8192, 8192).cuda()
    c = torch.zeros(8192, 8192, device="cuda")
    for _ in range(5):
        c = c * 0.5 + a @ b
    return [digest(c), digest(c.t().contiguous()), digest(torch.zeros(1 << 28, device="cuda")[:1 << 20])]


def graphs():
    """A captured graph, replayed on changed input."""
    torch.manual_seed(2)
    layer = torch.nn.Sequential(torch.nn.Linear(4096, 4096), torch.nn.GELU(), torch.nn.Linear(4096, 4096)).cuda().half()
    x = torch.zeros(64, 4096, device="cuda", dtype=torch.half)
    stream = torch.cuda.Stream()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(3):
                layer(x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = layer(x)
    results = []
    generator = torch.Generator().manual_seed(3)
    for _ in range(10):
        x.copy_(torch.randn(64, 4096, generator=generator).half())
        graph.replay()
        torch.cuda.synchronize()
        results.append(digest(y))
    return results


def stress():
    """The caching allocator: sizes at random, kept at random, content checked."""
    rng = random.Random(4)
    live, total = [], hashlib.sha256()
    for step in range(400):
        size = rng.choice([1 << 12, 1 << 20, 5 << 20, 33 << 20, 130 << 20])
        tensor = torch.full((size // 4,), step, device="cuda", dtype=torch.int32)
        live.append((step, tensor))
        if len(live) > 24 or rng.random() < 0.4:
            value, tensor = live.pop(rng.randrange(len(live)))
            low, high = tensor.min().item(), tensor.max().item()
            total.update(f"{low} {high};".encode())
            if (low, high) != (value, value):
                print(f"FAILED: step {step}: {low}..{high} instead of {value}")
                sys.exit(1)
            del tensor
        if step % 97 == 96:
            torch.cuda.empty_cache()
    return [total.hexdigest()[:16]]


def generate():
    """A Transformers model with random weights: tokens with a dynamic and with a static cache."""
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError:
        skip("Transformers is not installed")
    torch.manual_seed(5)
    config = LlamaConfig(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, num_attention_heads=16,
                         num_key_value_heads=4, vocab_size=8192, max_position_embeddings=4096)
    model = LlamaForCausalLM(config).cuda().half().eval()
    prompt = torch.randint(0, 8192, (4, 128), generator=torch.Generator().manual_seed(6)).cuda()
    results = []
    for cache in (None, "static"):
        tokens = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=128, do_sample=False,
                                cache_implementation=cache, pad_token_id=0)
        results.append(digest(tokens))
    return results


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("allocate", "graphs", "stress", "generate"):
        print(__doc__.splitlines()[2], file=sys.stderr)
        sys.exit(2)
    if not torch.cuda.is_available():
        skip("PyTorch sees no GPU")
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32 = False
    start = time.monotonic()
    results = globals()[sys.argv[1]]()
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    print(json.dumps({"check": sys.argv[1], "torch": torch.__version__, "cuda": torch.version.cuda, "results": results,
                      "seconds": round(time.monotonic() - start, 3), "free": free, "total": total}))


if __name__ == "__main__":
    main()
