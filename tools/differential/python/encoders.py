"""Makes an encoder of transformers from a config.json as it stands there, and says what it makes of random pixels or decibels."""
import json
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from serve import serve
from transformers import AutoConfig
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)


def fill(model, generator):
    """Weights under which every part of the model shows; running statistics too."""
    for name, p in list(model.named_parameters()) + list(model.named_buffers()):
        if not p.is_floating_point():
            continue
        noise = torch.randn(p.shape, generator=generator)
        if "running_var" in name or ("norm" in name and name.endswith("weight")):
            p.data = (1 + 0.2 * noise).abs() + 0.1
        elif "lambda" in name or "layer_scale" in name:
            p.data = 0.7 + 0.3 * noise
        elif p.dim() < 2 or "embeddings" in name or "table" in name:
            p.data = 0.5 * noise
        else:
            p.data = noise * 1.2 / (p.numel() / p.shape[0]) ** 0.5


def floats(config):
    """CLAP's ratio is no integer to transformers, and JavaScript writes 4.0 as 4."""
    parts = {key: floats(part) if isinstance(part, dict) else part for key, part in config.items()}
    return {key: float(part) if key == "mlp_ratio" and "depths" in config else part for key, part in parts.items()}


def reread(question):
    """What was saved elsewhere, on the same input: how far the last state is off, and what names did not fit."""
    folder = Path(question["saved"])
    cls = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    model, info = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    held = load_file(Path(question["path"]) / "want.st")
    with torch.no_grad():
        got = outputs(model.eval().double(), held["x"].double(), {**question, "architecture": cls.__name__})
    missing = sorted(set(info["missing_keys"]) - {"embeddings.mask_token"})  # of training by masks, which no encoder here has
    return {"off": (got["hidden"] - held["hidden"]).abs().max().item(), "missing": missing, "unexpected": sorted(info["unexpected_keys"])}


def answer(question):
    if "saved" in question:
        return reread(question)
    folder = Path(question["path"])
    folder.mkdir()
    config = json.dumps(floats({**question["config"], "architectures": [question["architecture"]]}))
    (folder / "config.json").write_text(config)
    generator = torch.Generator().manual_seed(question["seed"])
    cls = getattr(transformers, question["architecture"])
    made = cls._from_config(AutoConfig.from_pretrained(folder))
    persistent = set(made.state_dict())
    fill(made, generator)
    made.save_pretrained(folder)
    (folder / "config.json").write_text(config)
    model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert set(model.state_dict()) == persistent
    x = torch.randn(question["shape"], generator=generator)
    with torch.no_grad():
        rounded = outputs(model, x, question)
        # What f32 does to the sums, and how far rounding of the weights alone moves them.
        want = outputs(model.double(), x.double(), question)
        for p in model.parameters():
            p.mul_(1 + 1e-7 * torch.randn(p.shape, generator=generator))
        moved = outputs(model, x.double(), question)
    save_file({"x": x, **{name: t.float().contiguous() for name, t in want.items()}}, folder / "want.st")
    return {"moved": {name: max((other[name] - t).abs().max().item() for other in (rounded, moved)) for name, t in want.items()}}


def outputs(model, x, question):
    kind = question["architecture"]
    if kind.startswith("Clap"):
        tower = getattr(model, "audio_model", model)
        out = tower(x, is_longer=torch.tensor(question["isLonger"]).reshape(-1, 1))
        want = {"hidden": out.last_hidden_state.mean(2).transpose(1, 2), "pooled": out.pooler_output}
        if hasattr(model, "audio_projection"):
            want["embeds"] = model.audio_projection(out.pooler_output)
        return want
    if kind.startswith("VideoMAE"):
        out = getattr(model, "videomae", model)(x, output_hidden_states=True)
        want = {"hidden": out.last_hidden_state, "pooled": out.last_hidden_state.mean(1)}
    else:
        model = getattr(model, "model", model)  # LLaVA's
        tower = next((getattr(model, name) for name in ("vision_tower", "vision_model", "dinov2", "dinov2_with_registers") if hasattr(model, name)), model)
        stretch = {} if kind.startswith("Dino") else {"interpolate_pos_encoding": True}
        out = tower(x, output_hidden_states=True, **stretch)
        want = {"hidden": out.last_hidden_state}
        if out.pooler_output is not None:
            want["pooled"] = out.pooler_output
        if kind.startswith("Dinov2") and "ForImage" not in kind:
            want["embeds"] = out.pooler_output
        if hasattr(model, "visual_projection"):
            want["embeds"] = model.visual_projection(out.pooler_output)
    return want | {f"hidden.{i}": state for i, state in enumerate(out.hidden_states)}


serve(answer)
