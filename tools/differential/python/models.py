"""Makes a decoder of transformers from a config.json as it stands there, and says what it computes: logits, loss and the gradient of every weight."""
import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from serve import serve
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)
STORED = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def fill(model, generator):
    """Weights under which every part of the model shows in the logits."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name and p.dim() == 1:
            p.data = 1 + 0.2 * noise
        elif p.dim() == 1 or "embed_tokens" in name:
            p.data = 0.5 * noise
        else:
            p.data = noise * 1.2 / p.shape[-1] ** 0.5


def answer(question):
    if question["config"] is None:
        return {}
    folder = Path(question["path"])
    folder.mkdir()
    config = json.dumps(question["config"])
    (folder / "config.json").write_text(config)
    generator = torch.Generator().manual_seed(question["seed"])
    made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    made.generation_config = GenerationConfig()  # it refuses what the model takes, such as a pad_token_id of -1
    fill(made, generator)
    made.to(STORED[question["stored"]]).save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "config.json").write_text(config)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids, mask, labels = (torch.tensor(question[key]) for key in ("ids", "mask", "labels"))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False, "return_dict": True}
    output = model(**inputs, labels=labels)
    output.loss.backward()
    want = {"logits": output.logits.detach(), "loss": output.loss.detach().reshape(1)}
    want |= {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    save_file({name: t.contiguous() for name, t in want.items()}, folder / "want.st")
    # How far rounding of the weights alone moves the logits.
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 1e-7 * torch.randn(p.shape, generator=generator))
        moved = model(**inputs).logits - output.logits
    return {"moved": moved[mask.bool()].abs().max().item()}


serve(answer)
