"""PyTorch as a rival: a process that prepares what a request asks for, then times it whenever it is told to, so that the two libraries take turns.

One JSON object per line, as in process.ts: {"do": "prepare", "what": …} makes one of WHAT and answers {"id"}; {"do": "sample", "id"} answers {"seconds"} of one
call; {"do": "drop", "id"} frees it. Operands are `copies` sets, past the last cache together, that calls go round. With --device cuda all of it is on the card.
"""

import argparse
import json
import os
import sys
import time

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
LEAST = 0.01  # seconds of one sample of an op
now = time.process_time if os.environ.get("ANYMAL_BENCH_CLOCK") == "cpu" else time.perf_counter  # as in clock.ts


def uniform(dtype, *shape):
    return torch.empty(shape).uniform_(-1, 1).to(DTYPES[dtype])


def on_card():
    return torch.get_default_device().type == "cuda"


def wait():
    if on_card():
        torch.cuda.synchronize()


class Calls:
    """Short calls: a sample is as many as fill LEAST."""

    def __init__(self, calls, least=LEAST):
        self.calls = calls
        self.count = 1
        self.sample()  # kernels are loaded, or compiled
        while self.sample() * self.count < least and self.count < 1 << 16:
            self.count *= 2

    def sample(self):
        wait()
        start = now()
        for i in range(self.count):
            self.calls[i % len(self.calls)]()
        wait()
        return (now() - start) / self.count


class Graph(Calls):
    """On a card: all calls recorded once, so that none waits for the host."""

    def __init__(self, calls):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for call in calls:
                call()
                call()
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for call in calls:
                call()
        self.in_graph = len(calls)
        super().__init__([self.graph.replay])

    def sample(self):
        return super().sample() / self.in_graph


def calls_of(calls):
    return Graph(calls) if on_card() else Calls(calls)


class Step:
    """Long ones: a sample is one."""

    def __init__(self, step):
        self.step = step

    def sample(self):
        wait()
        start = now()
        self.step()
        wait()
        return now() - start


HELD = {}  # the weights of the last shape in each dtype: requests that differ in rows alone share them


def weights_of(r):
    key = (r["out"], r["in"], r["copies"])
    if HELD.get(r["dtype"], (None,))[0] != key:
        HELD.pop(r["dtype"], None)
        HELD[r["dtype"]] = key, [uniform(r["dtype"], r["out"], r["in"]) for _ in range(r["copies"])]
    return HELD[r["dtype"]][1]


def linear(r):
    backward = r["pass"] == "dX"
    x = uniform(r["dtype"], r["rows"], r["out"] if backward else r["in"])
    weights = weights_of(r)
    return calls_of([(lambda w: lambda: x @ w)(w) if backward else (lambda w: lambda: F.linear(x, w))(w) for w in weights])


def attention(r):
    heads, kv, dim, keys = r["heads"], r["kvHeads"], r["dim"], r["keys"]
    queries = 1 if r["pass"] == "decode" else keys
    calls = []
    for _ in range(r["copies"]):
        q, k, v = (uniform(r["dtype"], r["batch"], n, t, dim) for n, t in ((heads, queries), (kv, keys), (kv, keys)))
        calls.append(attention_call(q, k, v, r["pass"]))
    return calls_of(calls)


def attention_call(q, k, v, which):
    shared = q.shape[1] != k.shape[1]
    if which != "backward":
        causal = which == "forward"
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=shared)
    for tensor in (q, k, v):
        tensor.requires_grad_(True)
    with torch.enable_grad():
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=shared)
    dy = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)


def step(r):
    from torch_llama import training_step

    return Step(training_step(r))


def encoder(r):
    from torch_encoders import encoding

    return Step(encoding(r))


def op(r):
    from torch_ops import OPS, tensor

    make = OPS.get(r["op"])
    call = make and make(*tensor(r["args"], torch.get_default_device().type))
    return calls_of([call]) if call else None


def dequantised(r):
    from torch_card import dequantised_products

    return calls_of(dequantised_products(r))


def resampler(r):
    from torch_card import resampler_layer

    call = resampler_layer(r)
    return calls_of([call]) if r["as"] == "graph" else Calls([call])


WHAT = {"linear": linear, "dequantised": dequantised, "attention": attention, "resampler": resampler, "step": step, "encoder": encoder, "op": op}


def answer(request, jobs):
    if request["do"] == "prepare":
        with torch.no_grad():
            job = WHAT[request["what"]](request)
        if job is None:
            return {}  # nothing that is one call there
        jobs.append(job)
        return {"id": len(jobs) - 1}
    if request["do"] == "sample":
        with torch.no_grad():
            return {"seconds": jobs[request["id"]].sample()}
    jobs[request["id"]] = None
    return {}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    print(json.dumps({"name": "PyTorch", "version": torch.__version__}), flush=True)
    jobs = []
    for line in sys.stdin:
        try:
            print(json.dumps(answer(json.loads(line), jobs)), flush=True)
        except Exception as error:  # what else there is goes on
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main()
