"""Chooses the sampling numbers on people held out of training: steps, noise of expression and pose, mouth gain.

    python benchmarks/sampler.py --data SHARDS --model MODEL

For every setting: correlation of the lip opening with the real one, its spread against the real one, and the spread of
yaw, pitch and roll against the real ones. Measured on the motion, not on pictures, and never on the val clips.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from kptalk import Pipeline
from kptalk.audio.windows import mel_windows
from kptalk.motion.facemesh.generator import N_POSE, FaceMeshGenerator, SamplerConfig
from kptalk.motion.facemesh.space import FaceMeshSource
from kptalk.motion.filters import gaussian
from kptalk.motion.generator import FPS
from kptalk.train.data import TrainingClip, split_people
from kptalk.train.dataset import Dataset
from kptalk.train.facemesh import training_clip
from kptalk.types import Motion


def tokens_of(generator: FaceMeshGenerator, clip: TrainingClip, seed: int) -> np.ndarray:
    """Generated tokens (T, 70) for a clip's sound, from the clip's own first frame."""
    space = generator.space
    still = Motion(
        scale=np.ones((1, 1)), rotation=np.zeros((1, 3)), translation=np.zeros((1, 3)),
        expression=np.zeros((1, 21, 3)), fps=FPS, space=space.id,
    )  # fmt: skip
    first = space.motion(clip.tokens[:1], still)
    canonical = (clip.canonical[7:] * space.canonical_std + space.canonical_mean).reshape(21, 3)
    source = FaceMeshSource(canonical, first, space.template, np.ones((478, 3)), 1.0, np.zeros(3))
    windows = mel_windows(clip.mel, np.arange(len(clip)), FPS)
    head, _, state = generator.step(windows, generator.start(source, seed))
    tail, _ = generator.finish(state)
    whole = Motion.concatenate([head, tail])
    return space.tokens(gaussian.smooth(whole), still)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--expression-noise", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--pose-noise", type=float, nargs="+", default=[1.0])
    arguments = parser.parse_args()
    generator = Pipeline.from_pretrained(arguments.model).method.generator
    space, lips = generator.space, generator.space.lip_tokens()
    clips = [training_clip(space, tracked) for tracked in Dataset.open(arguments.data)]
    held_out = [clip for clip in split_people(clips)[1] if len(clip) >= 75]
    table = Table("steps", "expression noise", "pose noise", "r", "spread", "yaw", "pitch", "roll", "speed of pose")
    for steps, expression, pose in product(arguments.steps, arguments.expression_noise, arguments.pose_noise):
        config: SamplerConfig = replace(
            generator.config,
            steps=steps,
            expression_noise=expression,
            pose_noise=pose,
            mouth_gain=1.0,
            pose_gain=(1.0,) * N_POSE,
        )
        trial = FaceMeshGenerator(
            space, generator.encoder, generator.denoiser, generator.speech_mel_mean, config, generator.lips
        )
        rows = []
        for seed, clip in enumerate(held_out):
            out = tokens_of(trial, clip, seed)
            made, real = out[:, 7:] @ lips, clip.tokens[:, 7:] @ lips
            moved = np.abs(np.diff(out[:, 1:4], axis=0)).mean() / np.abs(np.diff(clip.tokens[:, 1:4], axis=0)).mean()
            rows.append(
                [
                    np.corrcoef(made, real)[0, 1],
                    made.std(),
                    real.std(),
                    *out[:, 1:4].std(0),
                    *clip.tokens[:, 1:4].std(0),
                    moved,
                ]
            )
        mean = np.array(rows).mean(0)
        pose_ratio = mean[3:6] / mean[6:9]
        values = [mean[0], mean[1] / mean[2], *pose_ratio, mean[9]]
        table.add_row(str(steps), f"{expression:g}", f"{pose:g}", *(f"{value:.3f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    main()
