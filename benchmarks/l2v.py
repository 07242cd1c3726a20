"""What draws the better mouth: the mesh renderer, or the denoiser on top of it? Real landmarks, real frames.

Every clip drives its own first frame with its own landmarks. Both renderers' frames are compared with the video in the
square that the denoiser draws. Prints a row per renderer, and the share of clips in which the denoiser is nearer.

    python benchmarks/l2v.py ../shared/data/clips/val
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from kptalk.device import set_threads
from kptalk.face.framing import EDGES
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lip_gap
from kptalk.media.clip import read_frames
from kptalk.methods.landmark import load_space
from kptalk.methods.latent import load_renderer
from kptalk.motion.generator import FPS
from kptalk.render.latent.landmark_maps import landmark_maps
from kptalk.render.latent.renderer import LatentRenderer
from kptalk.render.latent.square import apply_map, cut_square
from kptalk.train.pictures import SMOOTHING, head_motion, head_squares
from kptalk.types import Array, Face, Image, Portrait
from kptalk.weights.model import open_model

FIRST, FRAMES = 10, 48  # of a clip
COLUMNS = ("mouth", "between", "sharpness", "gap_r", "lips", "flicker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+", help="videos, or a folder of them")
    parser.add_argument("--model", default="landmark")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--sheet", type=Path, help="also write mouths of ten consecutive frames of every clip")
    arguments = parser.parse_args()
    set_threads()
    files = [f for clip in arguments.clips for f in (sorted(clip.glob("*.mp4")) if clip.is_dir() else [clip])]
    model = open_model(arguments.model)
    renderer = load_renderer(model, load_space(model))
    if arguments.steps:
        renderer = renderer.with_drawing(arguments.steps, None)
    rows: dict[str, list[list[float]]] = {"mesh": [], "denoiser": []}
    sheet = []
    for file in files:
        scores, strip = measure(file, renderer)
        for name, row in scores.items():
            rows[name].append(row)
        sheet.append(strip)
        print(
            f"{file.stem:40s} " + "   ".join(f"{n} {' '.join(f'{v:6.3f}' for v in r)}" for n, r in scores.items()),
            flush=True,
        )
    print(f"\n{'':10s}" + "".join(f"{column:>12s}" for column in COLUMNS))
    table = {name: np.array(row) for name, row in rows.items()}
    for name, values in table.items():
        middle = [
            np.nanmedian(v) if c == "sharpness" else np.nanmean(v) for c, v in zip(COLUMNS, values.T, strict=True)
        ]
        print(f"{name:10s}" + "".join(f"{value:12.3f}" for value in middle))
    better = table["denoiser"][:, :2] > table["mesh"][:, :2]
    print(f"nearer in {better[:, 0].mean():.0%} of the clips (mouth), {better[:, 1].mean():.0%} (between the lips)")
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), np.vstack(sheet)[..., ::-1])


def measure(file: Path, renderer: LatentRenderer) -> tuple[dict[str, list[float]], Image]:
    """Scores of one clip by renderer, and a strip: real, mesh and denoiser one above the other."""
    frames = list(read_frames(file, FPS))[: FIRST + FRAMES]
    with FaceMesh(video=True) as tracker:
        faces = [tracker(frame) for frame in frames]
    known = [face for face in faces if face]
    tracked = np.stack([(face or known[0]).landmarks for face in faces])
    landmarks = gaussian_filter1d(tracked, SMOOTHING[0], axis=0, mode="nearest").astype(np.float32)
    space, size = renderer.mesh.space, renderer.size
    affine = head_squares(space, tracked, size)
    prepared = renderer.prepare(Portrait(frames[0], Face(tracked[0])), EDGES)
    warped = [
        renderer.warp(landmarks[t], head_motion(space, tracked[0], landmarks[t]), affine[t], prepared)
        for t in range(FIRST, len(frames))
    ]
    drawn, state = renderer.draw(warped, renderer.start(prepared, 0))
    drawn = np.concatenate([drawn, renderer.finish(state)])
    real = np.stack(frames[FIRST:])
    squares = {
        "real": [cut_square(frame, a, size) for frame, a in zip(real, affine[FIRST:], strict=True)],
        "mesh": [each.square for each in warped],
        "denoiser": [cut_square(frame, each.affine, size) for frame, each in zip(drawn, warped, strict=True)],
    }
    maps = [landmark_maps(apply_map(a, p), size) for a, p in zip(affine[FIRST:], landmarks[FIRST:], strict=True)]
    pictures = {"mesh": np.stack([each.frame for each in warped]), "denoiser": drawn}
    scores = {
        name: [
            *_likeness(np.stack(squares[name]), np.stack(squares["real"]), np.stack(maps)),
            *_lips(pictures[name], tracked[FIRST:]),
            _flicker(np.stack(squares[name]), np.stack(squares["real"])),
        ]
        for name in pictures
    }
    open_most = int(np.clip(lip_gap(landmarks[FIRST:, :, :2]).argmax() - 5, 0, max(0, len(real) - 10)))
    strip = [np.hstack([s[48:120, 20:108] for s in squares[n][open_most : open_most + 10]]) for n in squares]
    padded = [np.pad(row, ((0, 0), (0, 880 - row.shape[1]), (0, 0))) for row in strip]
    return scores, np.vstack(padded)


def _likeness(ours: Image, real: Image, maps: Image) -> tuple[float, float, float]:
    """PSNR of the mouth's box and between the lips, and the sharpness there over the video's."""
    box, between, sharpness = [], [], []
    for a, b, m in zip(ours.astype(np.float32), real.astype(np.float32), maps, strict=True):
        rows, columns = np.nonzero(m[..., 1] > 127)
        part = np.s_[max(rows.min() - 8, 0) : rows.max() + 9, max(columns.min() - 8, 0) : columns.max() + 9]
        box.append(_psnr(a[part], b[part]))
        inside = m[..., 0] > 127
        if inside.sum() > 100:
            between.append(_psnr(a[inside], b[inside]))
            sharpness.append(_energy(a, inside) / max(_energy(b, inside), 1.0))
    if not between:
        return float(np.mean(box)), np.nan, np.nan
    return float(np.mean(box)), float(np.mean(between)), float(np.median(sharpness))


def _psnr(a: Array, b: Array) -> float:
    return float(10 * np.log10(255**2 / max(float(((a - b) ** 2).mean()), 0.5)))


def _energy(picture: Array, where: NDArray[np.bool_]) -> float:
    grey = picture.mean(-1)
    energy = np.diff(grey, axis=0)[:, :-1] ** 2 + np.diff(grey, axis=1)[:-1] ** 2
    return float(energy[where[:-1, :-1]].sum())


def _lips(frames: Image, real: Array) -> tuple[float, float]:
    """Correlation of the lip gap that FaceMesh reads with the video's, and how far lips are off, % of the face."""
    with FaceMesh(video=True) as tracker:
        faces = [tracker(np.ascontiguousarray(frame)) for frame in frames]
    seen = [i for i, face in enumerate(faces) if face]
    if len(seen) < 3:
        return np.nan, np.nan
    read = np.stack([face.landmarks for face in faces if face])
    lips = np.r_[13, 14, 61, 291, 78, 308, 0, 17, 82, 87, 312, 317]
    width = np.ptp(real[seen][..., 0], axis=1)[:, None]
    distance = np.linalg.norm(read[:, lips, :2] - real[seen][:, lips, :2], axis=-1) / width
    return float(np.corrcoef(lip_gap(read[..., :2]), lip_gap(real[seen][..., :2]))[0, 1]), float(100 * distance.mean())


def _flicker(ours: Image, real: Image) -> float:
    """Mean second difference over time on the calmer half of the video's pixels, over the video's own."""
    a, b = (np.abs(np.diff(x.astype(np.float32).mean(-1), 2, axis=0)) for x in (ours, real))
    calm = b <= np.median(b, (1, 2), keepdims=True)
    return float(a[calm].mean() / b[calm].mean())


if __name__ == "__main__":
    main()
