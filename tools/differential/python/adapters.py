"""A random tied or untied LLaMA with an adapter of PEFT, and what it answers: a folder with base/ and adapter/ (save_pretrained); ids and the logits of
the last position, in f32."""
import random
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from serve import serve
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.disable_progress_bar()
torch.set_num_threads(1)
SAVED = [None, ["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"], ["norm"]]
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def answer(question):
    folder, rng = Path(question["path"]), random.Random(question["seed"])
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
    return {"ids": ids, "logits": logits.tolist(), "tied": base.config.tie_word_embeddings, "saved": saved,
            "together": config.ensure_weight_tying, "bias": config.bias}


serve(answer)
