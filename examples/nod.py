"""A control curve of one's own: the generated motion is changed, then drawn. Here the head nods to a beat.

python examples/nod.py face.jpg speech.m4a nodding.mp4
"""

import sys

import numpy as np

from kptalk import Motion, Pipeline, ReenactOptions
from kptalk.methods.facemesh import load_space
from kptalk.options import RetargetOptions
from kptalk.weights.model import open_model

SPACE = load_space(open_model("embedded"))


def nod(motion: Motion, degrees: float = 4.0, beats_per_minute: float = 60.0) -> Motion:
    """The same motion with a nod on every beat; the face does what it did, seen from the turned head."""
    seconds = np.arange(len(motion)) / float(motion.fps)
    pitch = degrees * np.sin(2 * np.pi * seconds * beats_per_minute / 60)
    rotation = motion.rotation + np.float32([0, 1, 0]) * pitch[:, None].astype(np.float32)
    expression = SPACE.from_head_frame(SPACE.to_head_frame(motion), rotation)
    return motion.with_fields(rotation=rotation, expression=expression)


def nodding(pipeline: Pipeline, portrait: str, speech: str, output: str) -> None:
    """Make the video."""
    motion = Motion.concatenate(list(pipeline.animate(portrait, speech).motion()))
    options = ReenactOptions(retarget=RetargetOptions(mode="absolute"))
    pipeline.reenact(portrait, nod(motion), speech, options=options).save(output, overwrite=True)


if __name__ == "__main__":
    nodding(Pipeline.from_pretrained(), *sys.argv[1:4])
