"""Streams a set of 200,000 clips' size through the motion recipe's sampler: memory, and samples a second.

    python benchmarks/train_stream.py [--clips 200000] [--windows 20000] [--cache 200] [--device cpu]

The files are hard links of a few made-up ones of 6 s clips: 24 GB to the program, 0.2 GB on the disk. Anonymous memory
is what is looked at, for pages of files come and go as the system likes. The training's own speed stands beside.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser
from kptalk.train.data import TrainingClip
from kptalk.train.loop import Draw
from kptalk.train.motion import CONFIGS, FeatureStore, MotionData, WindowSampler, loss
from kptalk.train.tokens import TokenClips, read_tokens, token_bytes
from kptalk.weights.header import embedded_path
from kptalk.weights.store import load_model

FRAMES, A_FILE, FILES = 150, 250, 8  # of a clip; clips in a file; files that are not links


def made(folder: Path, clips: int) -> list[Path]:
    """The files."""
    rng, paths = np.random.default_rng(0), []
    for number in range(clips // A_FILE):
        paths.append(folder / f"shard-{number:05d}.safetensors")
        if number >= FILES:
            os.link(paths[number % FILES], paths[-1])
            continue
        contents = []
        for k in range(A_FILE):
            tokens = rng.standard_normal((FRAMES, 70), np.float32)
            mel = rng.normal(-2, 0.5, (FRAMES * 16 // 5 + 1, 80)).astype(np.float32)
            contents.append(TrainingClip(f"person {number * A_FILE + k}", tokens, tokens[0], mel))
        paths[-1].write_bytes(token_bytes(contents))
    return paths


def anonymous_megabytes() -> float:
    """Memory of this process that is not a file's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200_000)
    parser.add_argument("--windows", type=int, default=20_000)
    parser.add_argument("--cache", type=float, default=200, help="megabytes of clips, and as many of features")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    encoder = load_model(embedded_path("audio"), AudioEncoder, AudioEncoderConfig).to(arguments.device)
    space = FaceMeshSpace.load(embedded_path("facemesh"))
    config = replace(CONFIGS["paper"], cache=arguments.cache, buffer=2048)
    with TemporaryDirectory() as temporary:
        paths = made(Path(temporary), arguments.clips)
        nominal = sum(path.stat().st_size for path in paths) / 1e9
        began = time.monotonic()
        clips = read_tokens(paths, arguments.cache)
        print(
            f"{len(clips):,} clips, {nominal:.1f} GB in {len(paths)} files, opened in {time.monotonic() - began:.1f} s"
        )
        measure("tokens alone", clips, space, encoder, config, arguments, lambda store: _Silent())
        measure("tokens and features", clips, space, encoder, config, arguments, lambda store: store)
        train(clips, space, encoder, config, arguments.device)


class _Silent:
    """Features that cost nothing."""

    def __call__(self, number: int, version: int = 0) -> np.ndarray:
        return np.zeros((FRAMES, 512), np.float16)


def data_of(clips: TokenClips, space, encoder, config, features) -> MotionData:
    return MotionData(space, clips, [], np.full(80, -2, np.float32), config, encoder, 0, features)


def measure(name, clips, space, encoder, config, arguments, wrap) -> None:
    store = FeatureStore(clips, encoder, np.full(80, -2, np.float32), 0, arguments.cache)
    sampler = WindowSampler.of(data_of(clips, space, encoder, config, wrap(store)))
    windows = arguments.windows if name == "tokens alone" else max(320, arguments.windows // 40)
    part = windows // 5 // 64 * 64
    for fifth in range(5):
        began = time.process_time(), time.monotonic()
        for first in range(fifth * part, (fifth + 1) * part, 64):
            sampler.batch(Draw(0, 0, 0, range(first, first + 64)), torch.device(arguments.device))
        cpu, wall = time.process_time() - began[0], time.monotonic() - began[1]
        print(
            f"{name}, {(fifth + 1) * part:,} windows: {anonymous_megabytes():,.0f} MB, {part / wall:,.0f} samples/s "
            f"({part / cpu:,.0f} by CPU time)",
            flush=True,
        )


def train(clips, space, encoder, config, device: str) -> None:
    """Forward and backward pass of the paper's network, without the loader's part."""
    batch = 4 if device == "cpu" else 256
    data = data_of(clips, space, encoder, config, _Silent())
    model, batch_loss = Denoiser(config.network).to(device), loss(data)
    for attempt in range(2):
        began = time.process_time(), time.monotonic()
        torch.autograd.backward(batch_loss(model, Draw(0, attempt, 0, range(batch))))
        if device != "cpu":
            torch.cuda.synchronize()
        cpu, wall = time.process_time() - began[0], time.monotonic() - began[1]
    print(f"training the 42.9 M network: {batch / wall:,.1f} samples/s ({batch / cpu:,.1f} by CPU time)")


if __name__ == "__main__":
    main()
