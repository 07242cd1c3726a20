"""Make the pictures of the documentation that the models draw: python docs/pictures.py

docs/heads.webp: ten seeds of one portrait and one speech, moving. docs/landmark.png: the same mouth by both models, ten
consecutive frames where it moves most. The portrait is scikit-image's astronaut, the speech examples/speech.mp3.
"""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

import kptalk

DOCS = Path(__file__).parent
SPEECH = DOCS.parent / "examples" / "speech.mp3"
SEEDS, SIDE, SECONDS = 10, 128, 5
LENGTH = 100  # frames among which these are looked for


def heads() -> None:
    """Ten seeds in two rows, every second frame."""
    pipeline = kptalk.Pipeline.from_pretrained()
    videos = [
        list(islice(pipeline.stream(astronaut(), SPEECH, seed=seed, framing="crop", size=SIDE), 0, 25 * SECONDS, 2))
        for seed in range(SEEDS)
    ]
    rows = [np.concatenate(videos[:5], 2), np.concatenate(videos[5:], 2)]
    first, *rest = (Image.fromarray(frame) for frame in np.concatenate(rows, 1))
    first.save(DOCS / "heads.webp", save_all=True, append_images=rest, duration=80, loop=0, quality=55, method=6)


def mouths() -> None:
    """The keypoint method above, the landmark method below."""
    videos = []
    for name in ("embedded", "landmark"):
        pipeline = kptalk.Pipeline.from_pretrained(name)
        frames = pipeline.stream(astronaut(), SPEECH, framing="crop", size=512, pose="still")
        videos.append(np.stack(list(islice(frames, LENGTH))))
    moving = np.abs(np.diff(videos[0][:, 220:310, 190:320].astype(np.int16), axis=0)).mean((1, 2, 3))
    first = int(np.convolve(moving, np.ones(10), "valid").argmax())
    strips = [np.concatenate([*video[first : first + 10, 180:330, 180:330]], 1) for video in videos]
    Image.fromarray(np.concatenate(strips)).save(DOCS / "landmark.png", optimize=True)


if __name__ == "__main__":
    heads()
    mouths()
