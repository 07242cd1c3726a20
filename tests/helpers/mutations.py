"""Damage as files suffer it, and as somebody may do it on purpose: seeded, so that every run sees the same."""

import struct
from fractions import Fraction

import numpy as np
from fakes import PRIOR, facemesh_space, plain_portrait
from safetensors import safe_open

from kptalk.audio.windows import SpeechWindows
from kptalk.media.audio import Speech
from kptalk.methods import loaders_of
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.options import Options
from kptalk.types import Motion
from kptalk.weights.header import embedded_path
from kptalk.weights.model import facemesh_card, open_model, write_model_json
from kptalk.weights.store import save_model


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy with one kind of damage; mostly in the numbers of a safetensors file, else in its header."""
    data = bytearray(content)
    header = 8 + struct.unpack("<Q", content[:8])[0]
    first = 8 if rng.random() < 0.15 else header
    at = int(rng.integers(first, header if first == 8 else len(data)))
    kind = rng.integers(6)
    if kind == 0:  # single bits
        for where in rng.integers(first, len(data), rng.integers(1, 30)):
            data[where] ^= 1 << int(rng.integers(8))
    elif kind == 1:  # the largest numbers, or NaN
        data[at : at + 4] = b"\xff\xff\x7f\x7f" if rng.random() < 0.5 else b"\xff" * 4
    elif kind == 2:  # other bytes
        end = min(len(data), at + int(rng.integers(1, 200)))
        data[at:end] = rng.bytes(end - at)
    elif kind == 3:  # blocks swapped
        for _ in range(20):
            a, b = (int(x) for x in rng.integers(header // 64 + 1, len(data) // 64, 2) * 64)
            data[a : a + 64], data[b : b + 64] = data[b : b + 64], data[a : a + 64]
    elif kind == 4:  # cut off
        del data[at:]
    else:  # one number everywhere
        size = int(rng.integers(4, 4000)) // 4 * 4
        data[at : at + size] = struct.pack("<f", float(10.0 ** rng.integers(-30, 38))) * (size // 4)
    return bytes(data)


def write_model(folder) -> None:
    """A model folder with the embedded motion space and small networks that were not trained."""
    write_model_json(folder, facemesh_card())
    (folder / "facemesh.safetensors").write_bytes(embedded_path("facemesh").read_bytes())
    config = AudioEncoderConfig(widths=(4, 4, 8, 8, 16))
    level = {"speech_mel_mean": str(PRIOR.tolist())}
    save_model(folder / "audio.safetensors", AudioEncoder(config), config, level, half=True)
    config = DenoiserConfig(audio_dim=16, dim=16, depth=1, heads=1, head_dim=16, time_dim=16, rotary_dim=8)
    with safe_open(embedded_path("motion"), "np") as file:
        sampler = {"sampler": file.metadata()["sampler"]}
    save_model(folder / "motion.safetensors", Denoiser(config), config, sampler, half=True)


def use_model(folder, side: int = 64) -> np.ndarray:
    """Load it, let it speak for a third of a second, draw that: (T, H, W, 3)."""
    model = open_model(folder)
    method = loaders_of(model).load(model, "cpu", "auto")
    portrait = plain_portrait(facemesh_space(), side)
    session = method.session(method.framing(portrait, "full", side, None))
    sound = 0.3 * np.random.default_rng(0).standard_normal(5000).clip(-1, 1)
    windows = SpeechWindows(Speech.from_samples(sound, 16_000).chunks(), Fraction(25))
    motion = Motion.concatenate(list(session.generate(windows, Options(steps=2))))
    return np.concatenate(list(session.render([motion[-2:]], 2)))
