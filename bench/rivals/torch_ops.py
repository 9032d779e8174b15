"""PyTorch's time for the ops of the benchmark: a process that answers requests, so that the two libraries take turns on one machine.

One JSON object per line on standard input: {"op", "args", "device", "copies", "seconds"}; args as in bench/op-cases.ts, a tensor as {"shape", "dtype"}.
One line back: {"seconds"} per call, or {"seconds": null} for an op that PyTorch has no single call for. On a GPU calls are captured in one CUDA
graph over `copies` sets of operands, as ours are, so that neither finds its operands in the cache.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "i32": torch.int32, "u8": torch.uint8}


def tensor(arg, device):
    if isinstance(arg, list):
        return [tensor(a, device) for a in arg]
    if not isinstance(arg, dict) or "shape" not in arg:
        return arg
    dtype = DTYPES[arg["dtype"]]
    if dtype.is_floating_point:
        return torch.rand(arg["shape"], device=device, dtype=torch.float32).mul_(2).sub_(1).to(dtype)
    n = 1
    for size in arg["shape"]:
        n *= size
    values = (torch.arange(n, device=device, dtype=torch.int64) * 7919) % (arg.get("below") or 256)
    return values.reshape(arg["shape"]).to(dtype)


def heads_first(x):
    return x.transpose(1, 2)


def attention(q, k, v, _range, bias, scale, causal, window):
    if bias is not None or window:
        return None
    q, k, v = heads_first(q), heads_first(k), heads_first(v)
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def adamw(p, g, m, v, _scale, lr, beta1, beta2, eps, decay, step):
    steps = [torch.tensor(float(step), device=t.device) for t in p]
    m, v = [t.abs() for t in m], [t.abs() for t in v]

    def run():
        torch._fused_adamw_(p, g, m, v, [], steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=eps, amsgrad=False, maximize=False)

    return run


def cross_entropy(logits, target, ignore):
    target = target.long()
    return lambda: F.cross_entropy(logits, target, ignore_index=ignore, reduction="none")


def with_index(call):
    def make(x, index):
        index = index.long()
        return lambda: call(x, index)

    return make


OPS = {
    "copy": lambda x: lambda: x.clone(),
    "add": lambda a, b: lambda: a + b,
    "mul": lambda a, b: lambda: a * b,
    "transpose_copy": lambda x, a, b: lambda: x.transpose(a, b).contiguous(),
    "concat": lambda xs, dim: lambda: torch.cat(xs, dim),
    "gather_rows": with_index(lambda x, index: x.index_select(0, index)),
    "activation": lambda x, kind: (lambda: F.gelu(x)) if kind == 2 else None,
    "gated_activation": lambda gate, up, kind: (lambda: F.silu(gate) * up) if kind == 5 else None,
    "linear": lambda x, w, b: lambda: F.linear(x, w, b),
    "linear_dx": lambda dy, w: lambda: dy @ w,
    "linear_dw": lambda dw, db, dy, x: lambda: (dy.t() @ x, dy.sum(0)),
    "rms_norm": lambda x, w, eps: lambda: F.rms_norm(x, (x.shape[-1],), w.to(x.dtype), eps),
    "layer_norm": lambda x, w, b, eps: lambda: F.layer_norm(x, (x.shape[-1],), w.to(x.dtype), b.to(x.dtype), eps),
    "group_norm": lambda x, w, b, groups, eps: lambda: F.group_norm(x, groups, w.to(x.dtype), b.to(x.dtype), eps),
    "attention": attention,
    "conv1d": lambda x, w, b, stride, padding, dilation: lambda: F.conv1d(x, w, b, stride, padding, dilation),
    "conv2d": lambda x, w, b, sh, sw, ph, pw: lambda: F.conv2d(x, w, b, (sh, sw), (ph, pw)),
    "embedding": lambda ids, w: with_index(lambda w, ids: F.embedding(ids, w))(w, ids),
    "softmax_cross_entropy": cross_entropy,
    "sum": lambda x, factor: lambda: x.sum(dtype=torch.float32) * factor,
    "argmax": lambda x: lambda: x.argmax(-1),
    "adamw": adamw,
}


def seconds_per_call(calls, device, least):
    if device != "cuda":
        calls[0]()
        start, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - start < least:
            calls[done % len(calls)]()
            done += 1
        return (time.perf_counter() - start) / done
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    torch.cuda.synchronize()
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < least:
        for _ in range(8):
            graph.replay()
        torch.cuda.synchronize()
        done += 8
    return (time.perf_counter() - start) / (done * len(calls))


def answer(request):
    make, device = OPS.get(request["op"]), request["device"]
    if make is None:
        return {"seconds": None}
    with torch.no_grad():
        calls = [make(*tensor(request["args"], device)) for _ in range(request["copies"])]
        if calls[0] is None:
            return {"seconds": None}
        return {"seconds": seconds_per_call(calls, device, request["seconds"])}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"rival": f"PyTorch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        try:
            print(json.dumps(answer(json.loads(line))), flush=True)
        except Exception as error:  # the other ops go on
            print(json.dumps({"seconds": None, "error": f"{type(error).__name__}: {error}"}), flush=True)
