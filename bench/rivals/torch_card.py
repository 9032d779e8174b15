"""What a card's goals are held against: products with a weight in NF4 that is made dense first, a Perceiver layer, AdamW; plain, compiled, by bitsandbytes."""

import torch
import torch.nn.functional as F
from torch import nn

from torch_llama import Nf4Weight, nf4_dense


def dequantised_products(r):
    """x . W^T, or dy . W, through each of the copies of W; r["as"]: eager, compiled, or bitsandbytes, whose kernel makes W dense."""
    out, inner, backward = r["out"], r["in"], r["pass"] == "dX"
    x = torch.empty(r["rows"], out if backward else inner).uniform_(-1, 1).bfloat16()
    if r["as"] == "bitsandbytes":
        return [product(x, backward, bitsandbytes_weight(out, inner)) for _ in range(r["copies"])]

    def through(codes, absmax, table):
        w = nf4_dense(codes, absmax, table, (out, inner))
        return x @ w if backward else F.linear(x, w)

    if r["as"] == "compiled":
        torch._dynamo.reset()  # what was compiled for another shape counts against a limit
        through = torch.compile(through)
    weights = [Nf4Weight(out, inner) for _ in range(r["copies"])]
    return [(lambda w: lambda: through(w.codes, w.absmax, w.table))(w) for w in weights]


def bitsandbytes_weight(out, inner):
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    codes, state = quantize_4bit(torch.empty(out, inner).normal_().bfloat16(), quant_type="nf4", compress_statistics=True)
    return lambda: dequantize_4bit(codes, state)


def product(x, backward, dense):
    return (lambda: x @ dense()) if backward else (lambda: F.linear(x, dense()))


class Layer(nn.Module):
    """Flamingo's (arXiv 2204.14198, appendix), as lib/models/bridges/perceiver.ts has it."""

    def __init__(self, dim, heads, head_dim, latents):
        super().__init__()
        self.heads = heads
        self.latents = nn.Parameter(torch.randn(latents, dim) * 0.02)
        self.norm_media, self.norm_latents, self.norm_ff = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.k, self.v = (nn.Linear(dim, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, dim, bias=False)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

    def forward(self, media):
        latents = self.latents.to(media.dtype).expand(media.shape[0], -1, -1)
        rows = self.norm_latents(latents)
        both = torch.cat((self.norm_media(media), rows), dim=1)
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer, x in ((self.q, rows), (self.k, both), (self.v, both)))
        x = latents + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.relu(self.fc1(self.norm_ff(x))) ** 2)


def resampler_layer(r):
    """One call of the layer with weights in f32, computed in bf16; r["as"]: eager, graph, or compiled."""
    device = torch.get_default_device().type
    layer = Layer(r["dim"], r["heads"], r["headDim"], r["latents"])
    media = torch.empty(r["batch"], r["keys"], r["dim"]).uniform_(-1, 1).bfloat16()
    run = layer
    if r["as"] == "compiled":
        torch._dynamo.reset()
        run = torch.compile(layer, mode="reduce-overhead" if device == "cuda" else None)

    def forward():
        with torch.autocast(device, torch.bfloat16):
            return run(media)

    if r["pass"] == "forward":
        return forward

    @torch.enable_grad()
    def forward_and_backward():
        layer.zero_grad(set_to_none=r["as"] != "graph")
        forward().float().sum().backward()

    return forward_and_backward


def optimiser_step(r):
    """Gradients clipped by their norm, then AdamW, of r["tensors"] tensors of r["each"]; r["as"]: fused, with states in f32, or bitsandbytes' in 8 bit."""
    parameters = [nn.Parameter(torch.empty(r["each"]).uniform_(-1, 1)) for _ in range(r["tensors"])]
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter).uniform_(-1, 1)
    settings = {"lr": 1e-4, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 1e-4}
    if r["as"] == "bitsandbytes":
        from bitsandbytes.optim import AdamW8bit

        optimizer = AdamW8bit(parameters, **settings)
    else:
        on_card = parameters[0].is_cuda  # where it is recorded as a graph
        optimizer = torch.optim.AdamW(parameters, fused=True, capturable=on_card, **settings)

    def step():
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step
