"""The other side of adapters.ts: random tied and untied LLaMAs with adapters of PEFT, and what they answer. usage: python adapters.py FOLDER COUNT SEED

Each case is a folder with base/, adapter/ (save_pretrained) and case.json: ids and the logits of the last position, in f32.
"""
import json
import random
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

warnings.filterwarnings("ignore")
SAVED = [None, ["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"], ["norm"]]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def case(folder: Path, rng: random.Random):
    torch.manual_seed(rng.randrange(2**31))
    heads = rng.choice([1, 2, 4])
    base = LlamaForCausalLM(LlamaConfig(
        vocab_size=rng.randrange(11, 40), hidden_size=8 * heads, intermediate_size=rng.randrange(8, 40), num_hidden_layers=rng.choice([1, 2]),
        num_attention_heads=heads, num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=rng.random() < 0.6, initializer_range=0.3,
        attention_bias=rng.random() < 0.3)).eval()
    base.save_pretrained(folder / "base")
    saved = rng.choice(SAVED)
    config = LoraConfig(r=rng.choice([1, 2, 5]), lora_alpha=rng.choice([1, 4, 9]), target_modules=rng.sample(TARGETS, rng.randrange(1, 5)),
                        use_rslora=rng.random() < 0.3, modules_to_save=saved, bias=rng.choice(["none", "none", "all", "lora_only"]),
                        ensure_weight_tying=bool(saved) and "norm" not in saved and rng.random() < 0.4, task_type="CAUSAL_LM")
    model = get_peft_model(base, config).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    model.save_pretrained(folder / "adapter")
    ids = [rng.randrange(base.config.vocab_size) for _ in range(rng.randrange(2, 9))]
    logits = model(torch.tensor([ids])).logits[0, -1]
    (folder / "case.json").write_text(json.dumps({"ids": ids, "logits": logits.tolist(), "tied": base.config.tie_word_embeddings, "saved": saved,
                                                  "together": config.ensure_weight_tying, "bias": config.bias}))


if __name__ == "__main__":
    out, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    for i in range(count):
        case(out / f"{i:04d}", rng)
