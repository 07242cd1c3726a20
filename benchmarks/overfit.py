"""The paper's network (42.9 M parameters) overfits four clips: loss curve, and whether sampled motion follows speech.

    python benchmarks/overfit.py DATASET -o FOLDER [--steps 2000] [--batch 16] [--prediction v] [--device cuda]

Four clips of four people; the same command resumes. ``FOLDER/overfit.png`` shows the loss, and the lip opening sampled
for each clip beside the real one. Their correlation is printed, and that with another clip's sound, which a network
that ignored the speech would have too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch

from kptalk.device import set_threads
from kptalk.evaluate.metrics.lips import correlation
from kptalk.motion.diffusion import sample
from kptalk.motion.facemesh.generator import N_POSE
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.networks.audio_encoder import AudioEncoder, AudioEncoderConfig
from kptalk.networks.denoiser import Denoiser, DenoiserConfig
from kptalk.train.dataset import Dataset
from kptalk.train.facemesh import training_clip
from kptalk.train.lag import in_step, load_judge
from kptalk.train.loop import fit
from kptalk.train.motion import CONFIGS, FeatureStore, MotionData, loss
from kptalk.train.processes import open_processes
from kptalk.weights.header import embedded_path
from kptalk.weights.model import speech_mel_mean
from kptalk.weights.store import load_model

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CLIPS, FRAMES, SAMPLE_STEPS = 4, 64, 20


def data_of(dataset: Dataset, device: torch.device, arguments: argparse.Namespace) -> MotionData:
    """Four clips, each the longest of its person."""
    entries = sorted(dataset.clips, key=lambda entry: (entry.identity, -entry.frames))
    longest = {entry.identity: entry for entry in reversed(entries)}
    chosen = sorted(longest.values(), key=lambda entry: (-entry.frames, entry.name))[:CLIPS]
    space, judge = FaceMeshSpace.load(embedded_path("facemesh")), load_judge()
    clips = [training_clip(space, in_step(dataset.load(entry), judge)) for entry in chosen]
    # One window of each clip, so that all of it can be learned by heart.
    clips = [replace(clip, tokens=clip.tokens[: FRAMES + 1]) for clip in clips]
    encoder = load_model(embedded_path("audio"), AudioEncoder, AudioEncoderConfig).to(device)
    mean, paper = speech_mel_mean(embedded_path("audio")), CONFIGS["paper"]
    steps = arguments.steps
    loop = replace(
        paper.loop, steps=steps, batch=arguments.batch, warmup=min(100, steps // 10), learning_rate=arguments.rate,
        ema=0.98, score_every=max(1, steps // 40), minutes=arguments.minutes, clip=1.0,
    )  # fmt: skip
    config = replace(paper, loop=loop, feature_noise=0.0, network=DenoiserConfig(prediction=arguments.prediction))
    return MotionData(space, clips, clips, mean, config, encoder, 0, FeatureStore(clips, encoder, mean, 0, 100))


def sampled(model: torch.nn.Module, data: MotionData, device: torch.device, shift: int = 0) -> np.ndarray:
    """Lip opening (4, 64) of each clip, sampled from its first frame; ``shift``: with another clip's sound."""
    count = len(data.clips)
    references = np.stack([np.stack([clip.canonical, clip.tokens[0]]) for clip in data.clips])
    audio = np.stack([data.features((k + shift) % count)[1 : FRAMES + 1].astype(np.float32) for k in range(count)])
    noise = torch.randn(count, FRAMES, references.shape[-1], generator=torch.Generator().manual_seed(0))
    given = (torch.from_numpy(references), torch.from_numpy(audio), noise)
    tokens = sample(model, *(each.to(device) for each in given), SAMPLE_STEPS).cpu().numpy()
    return tokens[..., N_POSE:] @ data.space.lip_tokens()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-4, help="peak learning rate")
    parser.add_argument("--prediction", default="epsilon", help="as the paper; a few hundred steps do more with v")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    set_threads()
    processes = open_processes(arguments.device)
    dataset = Dataset.open(arguments.data)
    data = data_of(dataset, processes.device, arguments)
    real = np.stack([clip.tokens[1:, N_POSE:] @ data.space.lip_tokens() for clip in data.clips])

    def score(model: torch.nn.Module) -> dict[str, float]:
        r = float(
            np.mean([correlation(a, b) for a, b in zip(sampled(model, data, processes.device), real, strict=True)])
        )
        return {"score": r}

    def show(done: int, total: int, row: dict[str, float]) -> None:
        print(
            f"{done}/{total}  loss {row['loss']:.4f}  lip r {row['score']:.3f}  {row['samples_per_second']} samples/s",
            flush=True,
        )

    torch.manual_seed(0)
    model = fit(
        Denoiser(data.config.network), loss(data), score, arguments.output, data.config.loop, show, processes
    ).last
    own, foreign = (sampled(model, data, processes.device, shift) for shift in (0, 1))
    matched, crossed = ([correlation(a, b) for a, b in zip(made, real, strict=True)] for made in (own, foreign))
    print(f"lip opening r with the own sound {np.round(matched, 3)}, with another clip's {np.round(crossed, 3)}")
    log = np.genfromtxt(arguments.output / "log.csv", delimiter=",", names=True)
    figure, axes = plt.subplots(1, 1 + CLIPS, figsize=(3.4 * (1 + CLIPS), 2.8))
    axes[0].semilogy(np.atleast_1d(log["step"]), np.atleast_1d(log["loss"]))
    axes[0].set_title("loss")
    for axis, ours, theirs, r in zip(axes[1:], own, real, matched, strict=True):
        axis.plot(theirs, label="real")
        axis.plot(ours, label="sampled")
        axis.set_title(f"lip opening, r {r:.2f}")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(arguments.output / "overfit.png", dpi=80)


if __name__ == "__main__":
    main()
