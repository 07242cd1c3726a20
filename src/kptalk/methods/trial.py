"""A made-up portrait and recording, since no photo is shipped: they try an installation and warm a pipeline up."""

import numpy as np

from kptalk.media.audio import Speech
from kptalk.methods.facemesh import load_space
from kptalk.types import SAMPLE_RATE, Face, Portrait
from kptalk.weights.model import open_model

SIDE = 256  # pixels


def plain_portrait() -> Portrait:
    """A plain skin-coloured square with the landmarks of the mean face.

    Raises:
        WeightsError: the embedded weights are missing or damaged.
    """
    image = np.full((SIDE, SIDE, 3), (205, 170, 150), np.uint8)
    template = load_space(open_model("embedded")).template
    centred = (template - template.mean(0)) * SIDE * 0.25 + np.array([SIDE / 2, SIDE / 2, 0])
    return Portrait(image, Face(centred.astype(np.float32)))


def hum(seconds: float) -> Speech:
    """A hum of 140 Hz."""
    samples = 0.2 * np.sin(0.055 * np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32))
    return Speech.from_samples(samples, SAMPLE_RATE)
