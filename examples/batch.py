"""Lets several portraits speak one recording; the model is loaded once, and a bad photo does not stop the others.

python examples/batch.py speech.m4a out anna.jpg ben.jpg carl.jpg
"""

import sys
from pathlib import Path

import torch

from kptalk import Pipeline
from kptalk.errors import InputError


def batch(pipeline: Pipeline, speech: str, folder: Path, portraits: list[str]) -> dict[str, str]:
    """Write one video per portrait, each with a seed of its own; returns what failed, and why."""
    failed = {}
    folder.mkdir(parents=True, exist_ok=True)
    for seed, portrait in enumerate(portraits):
        try:
            animation = pipeline.animate(portrait, speech, seed=seed)
            animation.save(folder / f"{Path(portrait).stem}.mp4", overwrite=True)
        except InputError as error:
            failed[portrait] = str(error)
    return failed


if __name__ == "__main__":
    torch.set_num_threads(1)  # suits a machine with two cores; the library leaves torch's threads alone
    for name, reason in batch(Pipeline.from_pretrained(), sys.argv[1], Path(sys.argv[2]), sys.argv[3:]).items():
        print(f"{name}: {reason}", file=sys.stderr)
