"""Trains the embedded lip net, with the people of ``held_out.txt`` held out.

    python training/lips.py CLIPS.safetensors FOLDER

CLIPS is what ``kptalk train facemesh`` packs; FOLDER holds facemesh.safetensors and audio.safetensors. None of these
people was trained on before the data grew, so the weights before and after can be compared on them.
``kptalk train lips`` is the same with every tenth person held out, others whenever the data grow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kptalk.train import recipes, sampler
from kptalk.train.data import TrainingClip

HELD_OUT = set(Path(__file__).with_name("held_out.txt").read_text().split())


def split(clips: Sequence[TrainingClip]) -> tuple[list[TrainingClip], list[TrainingClip]]:
    held_out = [clip for clip in clips if clip.identity in HELD_OUT]
    return [clip for clip in clips if clip.identity not in HELD_OUT], held_out


def main() -> None:
    clips, folder = map(Path, sys.argv[1:])
    sampler.split_people = split  # type: ignore[assignment]
    recipes.train_network("lips", clips, folder, device="cpu", on_progress=print)


if __name__ == "__main__":
    main()
