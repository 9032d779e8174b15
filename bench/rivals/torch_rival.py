"""PyTorch as a rival: a process that prepares what a request asks for, then times it whenever it is told to, so that the two libraries take turns.

One JSON object per line, as in process.ts: {"do": "prepare", "what": …} makes one of WHAT and answers {"id"}; {"do": "sample", "id"} answers {"seconds"} of one
call; {"do": "drop", "id"} frees it. Operands are `copies` sets, past the last cache together, that calls go round. With --device cuda all of it is on the card.
"""

import argparse
import gc
import json
import sys

import torch
import torch.nn.functional as F

from torch_timing import Calls, Step, Tokens, calls_of, on_card

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def uniform(dtype, *shape):
    return torch.empty(shape).uniform_(-1, 1).to(DTYPES[dtype])


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


def decode(r):
    from torch_decode import decoder

    return Tokens(decoder(r), r["steps"])


def optimiser(r):
    from torch_card import optimiser_step

    call = optimiser_step(r)
    return calls_of([call]) if r["as"] == "fused" else Calls([call])


def resampler(r):
    from torch_card import resampler_layer

    call = resampler_layer(r)
    return calls_of([call]) if r["as"] == "graph" else Calls([call])


WHAT = {
    "linear": linear,
    "dequantised": dequantised,
    "attention": attention,
    "resampler": resampler,
    "optimiser": optimiser,
    "decode": decode,
    "step": step,
    "encoder": encoder,
    "op": op,
}


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
    gc.collect()  # functions that know each other
    if on_card():
        torch.cuda.empty_cache()  # the other library may need it
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
