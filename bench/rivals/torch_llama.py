"""A frozen LLaMA in plain PyTorch, and one training step through it: forward, gradients back to the media's rows, AdamW for the projection that made them.

Weights are dense, or in NF4 and dequantised at each use (by bitsandbytes' kernel where it is asked for), in forward and again in backward, as QLoRA's
reference does without a fused kernel. Only scored rows
meet the head, nothing is recomputed, and the projection is one matrix: where it differs from ours it has less to do.
"""

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "nf4": torch.bfloat16, "bitsandbytes": torch.bfloat16}
BLOCK = 64
# QLoRA (arXiv 2305.14314), appendix E.
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0]
NF4 += [0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


class Nf4Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.weight = weight
        return F.linear(x, weight.dense())

    @staticmethod
    def backward(ctx, dy):
        return dy @ ctx.weight.dense(), None


def nf4_dense(codes, absmax, table, shape):
    codes = torch.stack((codes >> 4, codes & 15), dim=-1).flatten().int()
    return (table[codes].view(-1, BLOCK) * absmax).to(torch.bfloat16).view(shape)


class Nf4Weight:
    def __init__(self, out, inner):
        self.shape = (out, inner)
        self.codes = torch.randint(0, 256, (out * inner // 2,), dtype=torch.uint8)
        self.absmax = torch.full((out * inner // BLOCK, 1), 0.05)
        self.table = torch.tensor(NF4)

    def dense(self):
        return nf4_dense(self.codes, self.absmax, self.table, self.shape)

    def product(self, x):
        return Nf4Linear.apply(x, self)


class BitsAndBytesWeight(Nf4Weight):
    def __init__(self, out, inner):
        from torch_card import bitsandbytes_weight

        self.dense = bitsandbytes_weight(out, inner)


class DenseWeight:
    def __init__(self, out, inner, dtype):
        self.weight = torch.empty(out, inner, dtype=dtype).uniform_(-0.03, 0.03)

    def product(self, x):
        return F.linear(x, self.weight)


class Llama:
    def __init__(self, shape, storage):
        self.s = shape
        self.dtype = DTYPES[storage]
        width, hidden = shape["hidden"], shape["intermediate"]
        q, kv = shape["heads"] * shape["headDim"], shape["kvHeads"] * shape["headDim"]
        quantised = {"nf4": Nf4Weight, "bitsandbytes": BitsAndBytesWeight}
        make = quantised.get(storage, lambda out, inner: DenseWeight(out, inner, self.dtype))
        sizes = {"q": (q, width), "k": (kv, width), "v": (kv, width), "o": (width, q), "gate": (hidden, width), "up": (hidden, width), "down": (width, hidden)}
        self.layers = [{name: make(*size) for name, size in sizes.items()} for _ in range(shape["layers"])]
        self.norm = torch.ones(width, dtype=self.dtype)
        self.head = DenseWeight(shape["vocabulary"], width, self.dtype)
        self.embedding = torch.empty(shape["vocabulary"], width, dtype=self.dtype).uniform_(-0.03, 0.03)

    def rms(self, x):
        return F.rms_norm(x, x.shape[-1:], self.norm, 1e-5)

    def rope(self, x, table):
        a, b = x.chunk(2, dim=-1)
        return x * table[0] + torch.cat((-b, a), dim=-1) * table[1]

    def split(self, x, heads):
        return x.view(*x.shape[:2], heads, self.s["headDim"]).transpose(1, 2)

    def attend(self, w, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def layer(self, w, h, table):
        x = self.rms(h)
        q = self.rope(self.split(w["q"].product(x), self.s["heads"]), table)
        k = self.rope(self.split(w["k"].product(x), self.s["kvHeads"]), table)
        v = self.split(w["v"].product(x), self.s["kvHeads"])
        h = h + w["o"].product(self.attend(w, q, k, v).transpose(1, 2).flatten(2))
        x = self.rms(h)
        return h + w["down"].product(F.silu(w["gate"].product(x)) * w["up"].product(x))

    def rotations(self, length):
        angles = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, self.s["headDim"], 2) / self.s["headDim"]))
        return [f(torch.cat((angles, angles), dim=-1)).to(self.dtype) for f in (torch.cos, torch.sin)]

    def forward(self, h):
        table = self.rotations(h.shape[1])
        for w in self.layers:
            h = self.layer(w, h, table)
        return self.rms(h)


def training_step(r):
    model = Llama(r["shape"], r["storage"])
    width, vocabulary = r["shape"]["hidden"], r["shape"]["vocabulary"]
    projection = torch.nn.Linear(r["dim"], width)
    optimizer = torch.optim.AdamW(projection.parameters(), lr=1e-4)
    features = torch.full((r["rows"], r["media"], r["dim"]), 0.5)
    ids = (torch.arange(r["rows"] * r["text"]) * 7919 % vocabulary).view(r["rows"], r["text"])
    labels = ids[:, -r["scored"] :].flatten()

    @torch.enable_grad()
    def step():
        media = projection(features).to(model.dtype)
        h = model.forward(torch.cat((media, model.embedding[ids]), dim=1))
        logits = model.head.product(h[:, -r["scored"] - 1 : -1].flatten(0, 1))
        F.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(projection.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step
