"""One token after the other from a LLaMA of random weights: plain PyTorch in bf16, on a card a graph for each step, and Hugging Face's model with its linear
layers in bf16 or in bitsandbytes' NF4. A step ends when the host has its tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from torch_llama import Llama
from torch_timing import on_card, recorded


def decoder(r):
    return Plain(r) if r["as"] == "plain" else HuggingFace(r, quantised_linear if r["as"] == "bitsandbytes" else dense_linear)


class Plain(Llama):
    """Over a cache of fixed size. What stands in it where the prompt would be is zeros: a step takes the same time."""

    def __init__(self, r):
        super().__init__(r["shape"], "bf16")
        length = r["prompt"] + r["steps"] + 1
        room = (r["rows"], self.s["kvHeads"], length, self.s["headDim"])
        for w in self.layers:
            w["keys"], w["values"] = (torch.zeros(room, dtype=self.dtype) for _ in range(2))
        self.prompt = r["prompt"]
        self.places = torch.arange(length)[None]
        self.table = self.rotations(length)
        self.position = torch.full((1,), self.prompt)
        self.ids = torch.zeros(r["rows"], dtype=torch.long)
        self.run = recorded([self.once]).replay if on_card() else self.once

    def attend(self, w, q, k, v):
        w["keys"].index_copy_(2, self.position, k)
        w["values"].index_copy_(2, self.position, v)
        return F.scaled_dot_product_attention(q, w["keys"], w["values"], attn_mask=self.places <= self.position, enable_gqa=True)

    def once(self):
        h = self.embedding[self.ids][:, None]
        table = [numbers.index_select(0, self.position) for numbers in self.table]
        for w in self.layers:
            h = self.layer(w, h, table)
        self.ids.copy_(self.head.product(self.rms(h)[:, -1]).argmax(-1))
        self.position.add_(1)

    def restart(self):
        self.position.fill_(self.prompt)

    def step(self):
        self.run()
        self.ids.tolist()


def dense_linear(inner, out):
    return nn.Linear(inner, out, bias=False, dtype=torch.bfloat16)


def quantised_linear(inner, out):
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(inner, out, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4")
    return layer.to(torch.get_default_device())  # which quantises


class HuggingFace:
    def __init__(self, r, linear):
        self.model = hugging_face_model(r["shape"], linear)
        self.prompt = torch.arange(r["rows"] * r["prompt"]).view(r["rows"], r["prompt"]) % r["shape"]["vocabulary"]
        self.cache = None

    def restart(self):
        if self.cache is None:
            self.ids = self.next(self.prompt)
            self.first = self.ids
        else:
            self.cache.crop(self.prompt.shape[1] - self.cache.get_seq_length())  # below zero: what the steps have added
            self.ids = self.first

    def step(self):
        self.ids = self.next(self.ids)
        self.ids.tolist()

    def next(self, ids):
        out = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = out.past_key_values
        return out.logits[:, -1:].argmax(-1)


def hugging_face_model(shape, linear):
    """Layer by layer, so that a model whose dense weights the card could not hold can be made in 4 bit."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    names = {"hidden": "hidden_size", "intermediate": "intermediate_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
    names |= {"kvHeads": "num_key_value_heads", "headDim": "head_dim", "vocabulary": "vocab_size"}
    config = LlamaConfig(**{names[name]: size for name, size in shape.items()}, max_position_embeddings=2048, tie_word_embeddings=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).eval()
    model.model.rotary_emb = LlamaRotaryEmbedding(config)  # whose numbers are computed, not loaded
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and name != "lm_head":
                setattr(module, name, linear(child.in_features, child.out_features))
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                made = torch.empty(parameter.shape, dtype=torch.bfloat16).uniform_(-0.03, 0.03)
                setattr(module, name, nn.Parameter(made, requires_grad=False))
    return model
