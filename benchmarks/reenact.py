"""Self-reenactment: the first frame of a clip is driven by the clip itself and compared with it, by FaceMesh.

python benchmarks/reenact.py CLIP... [--mode relative|absolute --region all --portrait FILE --sheet OUT.png]

With --portrait that photo is driven instead, and only the sheet is made: the driver above, the portrait below.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kptalk.face.geometry import rotation_angles
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.media.clip import read_frames
from kptalk.media.image import read_image
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.options import ReenactOptions, RetargetOptions
from kptalk.pipeline import Pipeline

SIDE = 200


def tracks(space: FaceMeshSpace, frames: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Lip opening, lids and pose of every frame."""
    with FaceMesh(video=True) as mesh:
        found = [mesh(frame) for frame in frames]
    landmarks = np.stack([face.landmarks for face in found])
    scale, rotation, translation = space.pose(landmarks)
    meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
    return {
        "lips": lip_opening(meshes),
        "lids": lid_opening(meshes).mean(-1),
        "rotation": rotation_angles(rotation),
        "place": landmarks[:, 1, :2] / scale.mean(),
    }


def score(real: dict[str, np.ndarray], drawn: dict[str, np.ndarray]) -> str:
    """One line of correlations and mean errors."""
    parts = []
    for name in ("lips", "lids"):
        correlation = np.corrcoef(real[name], drawn[name])[0, 1]
        parts.append(f"{name} r {correlation:.3f} size {drawn[name].std() / real[name].std():.2f}")
    error = np.abs(real["rotation"] - drawn["rotation"]).mean(0)
    parts.append("yaw {:.2f} pitch {:.2f} roll {:.2f} deg".format(*error))
    jitter = [np.abs(np.diff(t["rotation"], 2, axis=0)).mean() for t in (real, drawn)]
    parts.append("nose {:.3f}".format(np.linalg.norm(real["place"] - drawn["place"], axis=1).mean()))
    parts.append("jitter {:.2f} / {:.2f}".format(*jitter))
    return ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--portrait", type=Path, action="append")
    parser.add_argument("--mode", default="relative")
    parser.add_argument("--region", default="all")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--columns", type=int, default=8)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pipeline = Pipeline.from_pretrained()
    options = ReenactOptions(
        retarget=RetargetOptions(arguments.mode, arguments.region), fps=Fraction(25), framing="crop"
    )
    rows = []
    for clip in arguments.clips:
        real = list(read_frames(clip, Fraction(25)))
        shown = np.linspace(0, len(real) - 1, arguments.columns).astype(int)
        rows.append([real[0], *(real[i] for i in shown)])
        for portrait in arguments.portrait or [None]:
            picture = read_image(portrait) if portrait else np.ascontiguousarray(real[0])
            settings = options if portrait else ReenactOptions(retarget=options.retarget, fps=options.fps)
            animation = pipeline.reenact(picture, clip, options=settings)
            drawn = [frame for piece in animation.frames() for frame in piece]
            rows.append([animation.framing.photo, *(drawn[i] for i in shown)])
            if not portrait:
                space = pipeline.method.space
                print(f"{clip.stem:24} {score(tracks(space, real), tracks(space, drawn))}", flush=True)
    if arguments.sheet:
        size = (SIDE, SIDE)
        lines = [np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in row], 1) for row in rows]
        Image.fromarray(np.concatenate(lines)).save(arguments.sheet)


if __name__ == "__main__":
    main()
