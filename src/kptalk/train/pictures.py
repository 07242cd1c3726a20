"""Pictures to train L2V on: squares of videos, beside what the mesh renderer makes of another frame of the same person.

A picture set is a file per clip: sequences of neighbouring frames spread over the clip, each with one of a few
reference frames, which stand for the portrait. Landmarks are smoothed as a reader's are.
"""

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.ndimage import gaussian_filter1d

from kptalk.audio.windows import mel_windows
from kptalk.errors import DatasetError, InputError
from kptalk.face.framing import EDGES
from kptalk.files import explain, write_bytes
from kptalk.media.clip import read_frames
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.render.latent.square import apply_map, cut_square, square_maps, square_middle
from kptalk.render.mesh.pose import RigidMotion
from kptalk.render.mesh.renderer import MeshRenderer, draw_vertices
from kptalk.train.dataset import TrackedClip
from kptalk.types import Array, Face, Image, Portrait

FRAMES = 4  # of a sequence
FRAMES_PER_SEQUENCE = 10.0  # of the clip, on average
SEQUENCES_PER_REFERENCE = 5
SMOOTHING = 1.0, 1.5  # frames, of the landmarks and of the square


@dataclass(frozen=True)
class PictureSet:
    """Sequences of one clip; S sequences of ``FRAMES`` frames, R references, squares of P pixels.

    Attributes:
        real: (S, F, P, P, 3) uint8, the video.
        warped: (S, F, P, P, 3) uint8, the reference as the mesh renderer draws it.
        points: (S, F, 478, 2) float16, landmarks in pixels of the square.
        mels: (S, F, 80, 16) float16, mel windows.
        reference: (S,) int64, which of the references.
        references: (R, P, P, 3) uint8.
        reference_points: (R, 478, 2) float16.
        identity: whose face it is.
    """

    real: Image
    warped: Image
    points: NDArray[np.float16]
    mels: NDArray[np.float16]
    reference: NDArray[np.int64]
    references: Image
    reference_points: NDArray[np.float16]
    identity: str

    def save(self, path: Path) -> None:
        """Write the set; it appears when it is complete.

        Raises:
            OutputError: it cannot be written.
        """
        tensors: dict[str, NDArray[Any]] = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        write_bytes(path, save(tensors, {"kptalk": "pictures", "identity": self.identity}))

    @classmethod
    def load(cls, path: Path) -> "PictureSet":
        """Open a set; its pictures stay on the disk until they are looked at.

        Raises:
            DatasetError: it cannot be read.
        """
        try:
            with safe_open(path, framework="numpy") as file:  # checks what the header says
                identity = (file.metadata() or {})["identity"]
            content = np.memmap(path, np.uint8, "r")
            begin = 8 + int(content[:8].view(np.uint64)[0])
            header = json.loads(content[8:begin].tobytes())
            arrays = {}
            for name, dtype in _TENSORS.items():
                first, end = header[name]["data_offsets"]
                arrays[name] = content[begin + first : begin + end].view(dtype).reshape(header[name]["shape"])
            found = cls(**arrays, identity=identity)
            if found.points.shape[:2] != found.real.shape[:2] or found.real.shape[1] != FRAMES:
                raise ValueError("its parts do not fit each other")
            return found
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DatasetError(f"cannot read pictures {path}: {explain(error)}") from error


_TENSORS = {
    "real": np.uint8,
    "warped": np.uint8,
    "points": np.float16,
    "mels": np.float16,
    "reference": np.int64,
    "references": np.uint8,
    "reference_points": np.float16,
}


def make_pictures(
    clip: TrackedClip, space: FaceMeshSpace, size: int, rng: np.random.Generator, every: float = FRAMES_PER_SEQUENCE
) -> PictureSet:
    """Draw the pictures of one clip.

    Args:
        clip: tracked, with the place of its video.
        space: that its landmarks are read in.
        size: side of the squares, in their own pixels.
        rng: chooses sequences and references.
        every: frames of the clip per sequence, on average.

    Raises:
        DatasetError: the video is no longer there, or cannot be read.
    """
    tracked, count = clip.landmarks, len(clip.landmarks)
    landmarks = gaussian_filter1d(tracked, SMOOTHING[0], axis=0, mode="nearest").astype(np.float32)
    starts = _spread(count, every, rng)
    chosen = (starts[:, None] + np.arange(FRAMES)).ravel()
    affine = head_squares(space, tracked, size)
    references = np.sort(rng.choice(count, max(1, len(starts) // SEQUENCES_PER_REFERENCE), replace=False))
    references[0] = 0  # as a clip is evaluated
    reference = rng.integers(len(references), size=len(starts))
    squares, photos = _cut_video(clip, affine, size, {*chosen.tolist()}, {*references.tolist()})
    renderer = MeshRenderer(space)
    warped: list[Image] = [np.zeros(0, np.uint8)] * len(chosen)
    for number, first in enumerate(references.tolist()):
        prepared = renderer.prepare(Portrait(photos[first], Face(tracked[first])), EDGES)
        for position in np.flatnonzero(np.repeat(reference, FRAMES) == number):
            at = int(chosen[position])
            head = head_motion(space, tracked[first], landmarks[at])
            warped[position] = cut_square(draw_vertices(prepared, landmarks[at], head), affine[at], size)
    mel, _ = clip.mel()
    points = np.stack([apply_map(*each) for each in zip(affine, landmarks, strict=True)]).astype(np.float16)

    shape = len(starts), FRAMES
    return PictureSet(
        real=np.stack([squares[at] for at in chosen.tolist()]).reshape(*shape, size, size, 3),
        warped=np.stack(warped).reshape(*shape, size, size, 3),
        points=points[chosen].reshape(*shape, -1, 2),
        mels=mel_windows(mel, chosen, FPS).reshape(*shape, -1, 16).astype(np.float16),
        reference=reference,
        references=np.stack([squares[at] for at in references.tolist()]),
        reference_points=points[references],
        identity=clip.identity,
    )


def _cut_video(
    clip: TrackedClip, affine: Array, size: int, chosen: set[int], references: set[int]
) -> tuple[dict[int, Image], dict[int, Image]]:
    """Squares of the chosen frames and references, and the references whole, by their number in the clip."""
    squares, photos, count = {}, {}, len(affine)
    try:
        for number, frame in enumerate(islice(read_frames(clip.video, FPS), clip.first, clip.first + count)):
            if number in chosen or number in references:
                squares[number] = cut_square(frame, affine[number], size)
            if number in references:
                photos[number] = np.ascontiguousarray(frame)
    except InputError as error:
        raise DatasetError(f"no pictures of {clip.video.name}: {error}") from error
    if {*squares} != chosen | references:
        raise DatasetError(f"no pictures of {clip.video.name}: it has changed since it was prepared")
    return squares, photos


def head_squares(space: FaceMeshSpace, landmarks: Array, size: int) -> Array:
    """The square of every frame (T, 2, 3), in a clip of meshes (T, 478, 3)."""
    scale, rotation, translation = space.pose(landmarks)
    meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
    affine = square_maps(square_middle(space.neutral(meshes)), scale, rotation, translation, size)
    return np.asarray(gaussian_filter1d(affine, SMOOTHING[1], axis=0, mode="nearest"))


def head_motion(space: FaceMeshSpace, first: Array, now: Array) -> RigidMotion:
    """How the head moves from one mesh (478, 3) of a person to another."""
    scale, rotation, translation = space.pose(np.stack([first, now]))
    matrix = rotation[0].T @ rotation[1] * (scale[1] / scale[0])
    return RigidMotion(matrix.astype(np.float32), (translation[1] - translation[0] @ matrix).astype(np.float32))


def _spread(count: int, every: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """First frames of sequences that do not overlap, spread over a clip."""
    slots = max(2, round(count / every))
    edges = np.linspace(0, count - FRAMES, slots + 1).astype(int)
    room = np.maximum(np.diff(edges) - FRAMES, 0)
    return np.asarray(edges[:-1] + rng.integers(room + 1))
