"""How near drawn mouths and lids come to a video: every clip drives its first frame with open eyes, and is compared.

The motion is that of the clip's landmarks about the frame's own neutral face, place and size, so that what differs is
the drawing: ``reenact`` reads the photo and the driver each by itself, and a face that lies a pixel beside the video's
costs more than any change of a mouth.

python benchmarks/pictures.py CLIP... [--frames 100] [--portraits FOLDER SPEECH]

Per clip and in the median: PSNR in the box of the mouth and in those of the lids, CPBD of the mouth's box (enlarged to
256 pixels) over the video's, correlation and size of the lips' and lids' openings that FaceMesh reads. With
--portraits, every photo of the folder speaks, and the largest mean change of a corner of the frame (a sixteenth of each
side) is printed, in greys.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from kptalk.errors import FaceNotFound
from kptalk.evaluate.metrics.cpbd import cpbd
from kptalk.face.geometry import rotation_angles
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lid_opening, lip_opening
from kptalk.face.topology import EYE_CORNERS, LID_PAIRS, LIPS_OUTER
from kptalk.media.clip import read_frames
from kptalk.motion.facemesh.space import FaceMeshSource, FaceMeshSpace
from kptalk.pipeline import Pipeline
from kptalk.render.mesh.renderer import MeshRenderer
from kptalk.types import Face, Motion, Portrait

SPACE = Path(__file__).resolve().parent.parent / "src/kptalk/weights/embedded/facemesh.safetensors"
COLUMNS = ("mouth PSNR", "lids PSNR", "CPBD", "lips r", "lips size", "lids r", "lids size")
EYES = [np.unique(np.concatenate([LID_PAIRS.reshape(2, -1)[k], EYE_CORNERS.reshape(2, -1)[k]])) for k in (0, 1)]
GREY = np.array([0.299, 0.587, 0.114])
Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]


def box(points: Floats, margin: float) -> tuple[slice, slice]:
    """The rows and columns around points (n, 2), with a margin in parts of their width."""
    low, high = points.min(0), points.max(0)
    around = margin * (high[0] - low[0])
    (x0, y0), (x1, y1) = np.maximum(low - around, 0).astype(int), (high + around).astype(int) + 1
    return slice(y0, y1), slice(x0, x1)


def psnr(a: Picture, b: Picture) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 0.1)))


def landmarks(frames: list[Picture]) -> Floats:
    """(T, 478, 3) pixels."""
    with FaceMesh(video=True) as mesh:
        found = [mesh(frame) for frame in frames]
    known = next(face for face in found if face)
    return np.stack([(face or known).landmarks for face in found]).astype(float)


def driven(space: FaceMeshSpace, source: FaceMeshSource, followed: Floats) -> Motion:
    """The motion of landmarks (T, 478, 3) about the neutral face of a portrait that is one of the frames."""
    scale, rotation, translation = space.pose(followed.astype(np.float32))
    meshes = (followed - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
    expression = space.encode(((meshes - source.neutral) / source.gain).astype(np.float32)) @ rotation
    return Motion(
        scale=(scale / source.unit)[:, None].astype(np.float32),
        rotation=rotation_angles(rotation).astype(np.float32),
        translation=((translation - source.origin) / source.unit).astype(np.float32),
        expression=expression.astype(np.float32),
        fps=Fraction(25),
        space=space.id,
    )


def measure(renderer: MeshRenderer, clip: Path, count: int) -> list[float]:
    """The columns of one clip."""
    real = list(islice(read_frames(clip, Fraction(25)), count))
    followed = landmarks(real)
    lids = lid_opening(followed).mean(1)
    number = int(np.argmax(lids > 0.9 * np.median(lids)))
    portrait = Portrait(real[number], Face(followed[number].astype(np.float32)))
    state = renderer.prepare(portrait, ("left", "top", "right", "bottom"))
    drawn = list(renderer.step(driven(renderer.space, state.source, followed), renderer.start(state, 0))[0])
    tracks, rows = [followed, landmarks(drawn)], []
    for points, a, b in zip(tracks[0][..., :2], drawn, real, strict=True):
        mouth, eyes = box(points[LIPS_OUTER], 0.2), [box(points[each], 0.3) for each in EYES]
        sharpness = [cpbd(cv2.resize((each[mouth] @ GREY).astype(np.uint8), (256, 256))) for each in (a, b)]
        rows.append([psnr(a[mouth], b[mouth]), np.mean([psnr(a[each], b[each]) for each in eyes]), *sharpness])
    means = np.nanmean(rows, 0)
    scores = [means[0], means[1], means[2] / means[3]]
    for opening in (lip_opening, lid_opening):
        ours, theirs = (np.asarray(opening(each)).reshape(len(each), -1).mean(1) for each in reversed(tracks))
        scores += [float(np.corrcoef(ours, theirs)[0, 1]), float(ours.std() / theirs.std())]
    return [float(score) for score in scores]


def corners(pipeline: Pipeline, photo: Path, speech: Path) -> float:
    """The largest mean change of a corner from the first frame, which shows the photo."""
    frames = iter(pipeline.animate(photo, speech))
    first = next(frames).astype(np.int16)
    side = max(4, min(first.shape[:2]) // 16)
    cuts = [np.s_[y, x] for y in (slice(0, side), slice(-side, None)) for x in (slice(0, side), slice(-side, None))]
    change = [[np.abs(frame[cut] - first[cut]).mean() for cut in cuts] for frame in islice(frames, 0, 75, 5)]
    return float(np.max(change))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="*")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--portraits", type=Path, nargs=2, metavar=("FOLDER", "SPEECH"))
    arguments = parser.parse_args()
    pipeline, rows = Pipeline.from_pretrained(), []
    renderer = MeshRenderer(FaceMeshSpace.load(SPACE))
    if arguments.clips:
        print(f"{'':32s}" + "".join(f"{column:>11s}" for column in COLUMNS))
    for clip in arguments.clips:
        rows.append(measure(renderer, clip, arguments.frames))
        print(f"{clip.stem:32s}" + "".join(f"{value:11.3f}" for value in rows[-1]), flush=True)
    if rows:
        print(f"{'median':32s}" + "".join(f"{value:11.3f}" for value in np.nanmedian(rows, 0)))
    if arguments.portraits:
        folder, speech = arguments.portraits
        changes = {}
        for photo in sorted(folder.iterdir()):
            try:
                changes[photo.stem] = corners(pipeline, photo, speech)
            except FaceNotFound:
                continue
        worst = sorted(changes.items(), key=lambda each: -each[1])[:5]
        still = sum(change <= 1 for change in changes.values())
        print(f"corners within one grey level in {still} of {len(changes)} photos; most: {worst}")


if __name__ == "__main__":
    main()
