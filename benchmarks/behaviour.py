"""What the video does when nobody speaks, and what a seed fixes; measured by FaceMesh on the pictures.

    python benchmarks/behaviour.py [--model MODEL]

10 s of digital silence: spread of the lip opening in face heights (below 0.01), blinks (1 to 6), spread and mean speed
of the head. Then one recording with the same seed twice (equal bytes) and with another (another motion).
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import warnings
from pathlib import Path

import numpy as np
from common import portrait, recording
from motion import track

from kptalk import Motion, Options, Pipeline, Speech
from kptalk.face.measures import lid_opening, lip_opening


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    arguments = parser.parse_args()
    pipeline = Pipeline.from_pretrained(arguments.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = portrait(folder)
        silence = Speech.from_samples(np.zeros(160_000, np.float32), 16_000)
        animation = pipeline.animate(photo, silence)
        with warnings.catch_warnings(action="ignore"):  # that there is no sound
            motion = Motion.concatenate(list(animation.motion()))
            meshes = track(frame for piece in animation.frames() for frame in piece)
        seen = meshes[np.isfinite(meshes[:, 0, 0])]
        height = np.linalg.norm(seen[:, 10] - seen[:, 152], axis=-1).mean()
        settled = slice(10, -10)  # the photo's own smile is eased out of and into
        lids = lid_opening(seen).mean(-1)
        closed = lids < 0.5 * np.median(lids)
        blinks = int((np.diff(closed.astype(int)) == 1).sum())
        opening = lip_opening(seen)[settled] / height
        print(f"silence: lip opening mean {opening.mean():.4f}, spread {opening.std():.4f} of the face's height")
        print(f"silence: {blinks} blinks in 10 s")
        speed = np.abs(np.diff(motion.rotation, axis=0)).mean(0) * float(motion.fps)
        print(f"silence: head spread {motion.rotation.std(0).round(2)} degrees, mean speed {speed.round(2)} degrees/s")

        speech = recording(folder, 4)
        sums = []
        for seed, out in ((1, "a"), (1, "b"), (2, "c")):
            path = pipeline.animate(photo, speech, options=Options(seed=seed)).save(folder / f"{out}.mp4")
            sums.append(hashlib.sha256(path.read_bytes()).hexdigest())
        print(f"same seed, same bytes: {sums[0] == sums[1]}; another seed, another video: {sums[0] != sums[2]}")
        poses = [
            Motion.concatenate(list(pipeline.animate(photo, speech, options=Options(seed=seed)).motion())).rotation
            for seed in (1, 2)
        ]
        print(f"head of two seeds: mean distance {np.abs(poses[0] - poses[1]).mean():.2f} degrees")


if __name__ == "__main__":
    main()
