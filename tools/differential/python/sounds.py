"""A random sound of a seed, written to a path, and what libsndfile reads in it: the mean of the channels, beside it as f32."""
import random
import struct

import numpy as np
import soundfile as sf
from serve import serve

rng = random.Random()
RATES = [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000]
SUBTYPES = {
    "WAV": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"],
    "WAVEX": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
    "RF64": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"],
    "W64": ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"],
    "AIFF": ["PCM_16", "PCM_24", "PCM_32"],
    "FLAC": ["PCM_S8", "PCM_16", "PCM_24"],
    "OGG": ["VORBIS"],
}


def chunk(id_, content, padded=True):
    return id_ + struct.pack("<I", len(content)) + content + (b"\0" if padded and len(content) & 1 else b"")


def some():
    id_ = rng.choice([b"LIST", b"bext", b"junk", b"PAD ", b"iXML", b"cue ", b"id3 "])
    return id_, rng.randbytes(rng.randint(1, 60))


def values(data, tag, bits):
    if tag == 3:
        return np.frombuffer(data, f"<f{bits // 8}").astype("f8")
    if bits == 8:
        return (np.frombuffer(data, "u1").astype("f8") - 128) / 128
    raw = np.frombuffer(data, "u1").reshape(-1, bits // 8)
    whole = np.zeros((len(raw), 4), "u1")
    whole[:, 4 - bits // 8 :] = raw
    return whole.view("<i4")[:, 0] / 2.0**31


def by_hand():
    """RIFF, RF64 and BW64 with chunks all around the samples, sizes that are not known, forgotten padding."""
    kind = rng.choice(["RIFF", "RF64", "BW64"])
    channels, rate = rng.randint(1, 3), rng.choice(RATES)
    tag, bits = rng.choice([(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)])
    frames = rng.randint(3, 400)
    if tag == 3:
        data = np.asarray([rng.uniform(-1, 1) for _ in range(frames * channels)], "<f4" if bits == 32 else "<f8").tobytes()
    else:
        data = rng.randbytes(frames * channels * bits // 8)
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits)
    if rng.random() < 0.4:
        fmt += struct.pack("<H", 0)
    known = rng.random() < 0.75
    body = b""
    for _ in range(rng.randint(0, 2)):
        body += chunk(*some())
    body += chunk(b"fmt ", fmt)
    for _ in range(rng.randint(0, 2)):
        body += chunk(*some())
    after = b"".join(chunk(*some()) for _ in range(rng.randint(0, 2)))
    if kind == "RIFF":
        size = len(data) if known else 0xFFFFFFFF
        if not known:
            after = b""
        whole = body + b"data" + struct.pack("<I", size) + data + (b"\0" if len(data) & 1 else b"") + after
        whole = b"RIFF" + struct.pack("<I", 4 + len(whole) if known else 0xFFFFFFFF) + b"WAVE" + whole
        return f"{kind} by hand {bits}{'' if known else ' piped'}", whole, rate, None
    rest = body + b"data" + struct.pack("<I", 0xFFFFFFFF) + data + (b"\0" if len(data) & 1 else b"") + after
    whole = chunk(b"ds64", struct.pack("<QQQI", 4 + 36 + len(rest), len(data), frames, 0)) + rest
    return f"{kind} by hand {bits}", kind.encode() + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + whole, rate, values(data, tag, bits).reshape(-1, channels).mean(axis=1).astype("<f4")


def answer(question):
    rng.seed(question["seed"])
    path = question["path"]
    if rng.random() < 0.5:
        kind, data, rate, meant = by_hand()
        open(path, "wb").write(data)
        tolerance = 1e-6
    else:
        format_ = rng.choice(list(SUBTYPES))
        subtype = rng.choice(SUBTYPES[format_])
        channels, rate, frames = rng.randint(1, 3), rng.choice(RATES), rng.randint(200, 4000)
        t = np.arange(frames)[:, None] / rate
        x = sum(np.sin(2 * np.pi * rng.uniform(60, rate / 5) * t + rng.uniform(0, 6)) * rng.uniform(0.05, 0.3) for _ in range(3)) * np.ones((1, channels))
        x = np.clip(x + np.random.default_rng(rng.randrange(2**31)).normal(0, 0.01, x.shape), -0.95, 0.95)
        if "ADPCM" in subtype:
            x = x[:, :2]
        sf.write(path, x, rate, format=format_, subtype=subtype)
        kind = f"{format_} {subtype}"
        tolerance = 4e-3 if subtype in ("VORBIS", "IMA_ADPCM") else 1e-6
    line = {"kind": kind, "rate": rate, "tolerance": tolerance}
    try:
        if "64 by hand" in kind:  # libsndfile knows no BW64, and of RF64 no chunks between: what was written is what is there
            meant.tofile(f"{path}.f32")
            return {**line, "frames": len(meant)}
        got, _ = sf.read(path, dtype="float64", always_2d=True)
        got.mean(axis=1).astype("<f4").tofile(f"{path}.f32")
        line["frames"] = len(got)
    except Exception as error:  # noqa: BLE001 whatever libsndfile says no with
        line["refused"] = f"{type(error).__name__}: {error}"
    return line


serve(answer)
