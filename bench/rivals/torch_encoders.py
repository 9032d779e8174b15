"""Encoders of random weights in PyTorch: transformers' CLIP and CLAP of the configuration that is asked for, and IMU2CLIP from torch's own layers."""

import torch
from torch import nn

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def clip(config, dtype):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    return lambda model, x: model(pixel_values=x).last_hidden_state, CLIPVisionModel(CLIPVisionConfig(**config))


def clap(config, dtype):
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection

    longer = torch.zeros(1, 1, dtype=torch.bool)
    return lambda model, x: model(input_features=x, is_longer=longer).audio_embeds, ClapAudioModelWithProjection(ClapAudioConfig(**config))


class Imu2Clip(nn.Module):
    def __init__(self, config):
        super().__init__()
        channels, width, hidden = config["channels"], config["width"], config["hidden"]
        layers, inner, length = [nn.GroupNorm(2, channels)], channels, config["window_samples"]
        for kernel in (10, 5, 5):
            layers += [nn.Conv1d(inner, width, kernel, dilation=2, bias=False), nn.MaxPool1d(3)]
            inner, length = width, (length - 2 * (kernel - 1)) // 3
        self.layers = nn.Sequential(*layers, nn.GroupNorm(4, width))
        self.gru = nn.GRU(length, hidden, batch_first=True)  # over the channels, as the original does

    def forward(self, x):
        return self.gru(self.layers(x))[0]


def imu2clip(config, dtype):
    return lambda model, x: model(x), Imu2Clip(config)


MODELS = {"clip": clip, "clap": clap, "imu2clip": imu2clip}


def encoding(r):
    call, model = MODELS[r["model"]](r["config"], r["dtype"])
    model = model.to(DTYPES[r["dtype"]]).eval()
    x = torch.empty(r["input"]).uniform_(-1, 1).to(DTYPES[r["dtype"]])
    return lambda: call(model, x)
