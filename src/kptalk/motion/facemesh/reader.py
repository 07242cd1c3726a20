"""Motion of the person in a video, read as a stream: memory does not grow with the length of the video."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from os import PathLike
from typing import Any, Protocol

import numpy as np

from kptalk.errors import FaceNotFound
from kptalk.face.follow import FaceFollower
from kptalk.face.geometry import rotation_angles
from kptalk.face.landmarks import N_LANDMARKS
from kptalk.media.clip import probe, read_frames
from kptalk.motion.facemesh.generator import FPS
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.filters import resample
from kptalk.motion.filters import savgol as steady
from kptalk.types import N_KEYPOINTS, Array, Face, Image, Motion

AT_ONCE = 16  # frames read before they become motion
NEUTRAL_SECONDS = 10  # of a video's beginning, in which the person's neutral face is looked for
SLOWEST, FASTEST = Fraction(1), Fraction(120)  # frames a second at which a video is looked at
FINEST = 1001  # largest denominator of such a rate, that of 30000/1001


class MotionReader(Protocol):
    """How a motion space reads a video; what it remembers between two calls is its state."""

    def start(self, fps: Fraction) -> Any:
        """State before the first frame of a video with ``fps`` frames a second."""

    def step(self, images: Sequence[Image], faces: Sequence[Face], state: Any) -> tuple[Motion | None, Any]:
        """The motion that becomes known by the next frames, None or without frames if there is none, and the state.

        Args:
            images: (H, W, 3) uint8 RGB each.
            faces: the face in each of them; where none was seen, the one before.
            state: of the stream.
        """

    def finish(self, state: Any) -> Motion | None:
        """The motion that remains at the end."""


@dataclass(frozen=True)
class FaceMeshState:
    """Landmarks (n, 478, 3) that wait until the person is known; then how that person is measured, and the head."""

    fps: Fraction
    waiting: Array
    person: Person | None = None
    head: steady.SteadyState = field(default_factory=steady.SteadyState)


@dataclass(frozen=True)
class Person:
    """``neutral`` (478, 3) mesh, ``gain`` (478, 3) of its expressions; size and place in the first frame, in pixels."""

    neutral: Array
    gain: Array
    unit: float
    origin: Array


class FaceMeshReader:
    """Motion of the space ``facemesh`` from landmarks.

    Scale and translation are relative to the first frame; the tracker's noise is taken out of the pose. The expression
    is what the mesh adds to the person's own neutral mesh, divided by how large this person's mouth and eyes open:
    neither the shape of the face nor its habits of size are left in it. The neutral mesh is taken from the first ten
    seconds, so these are held back.
    """

    def __init__(self, space: FaceMeshSpace) -> None:
        self.space = space

    def start(self, fps: Fraction) -> FaceMeshState:
        """See ``MotionReader``."""
        return FaceMeshState(fps, np.zeros((0, N_LANDMARKS, 3), np.float32))

    def step(
        self, images: Sequence[Image], faces: Sequence[Face], state: FaceMeshState
    ) -> tuple[Motion | None, FaceMeshState]:
        """See ``MotionReader``; the pictures are not looked at."""
        landmarks = np.concatenate([state.waiting, np.stack([face.landmarks for face in faces])])
        if state.person is None and len(landmarks) < NEUTRAL_SECONDS * state.fps:
            return None, replace(state, waiting=landmarks)
        person = state.person or self._person(landmarks)
        motion, head = steady.step(self._motion(landmarks, person, state.fps), state.head)
        return motion, replace(state, waiting=landmarks[:0], person=person, head=head)

    def finish(self, state: FaceMeshState) -> Motion | None:
        """See ``MotionReader``."""
        head = state.head
        if not len(state.waiting):
            return steady.finish(head)
        motion, head = steady.step(self._motion(state.waiting, self._person(state.waiting), state.fps), head)
        rest = steady.finish(head)
        return motion if rest is None else Motion.concatenate([motion, rest])

    def pose(self, landmarks: Array, fps: Fraction) -> Motion:
        """Scale, rotation and translation of (T, 478, 3) landmarks in pixels; the expression is left at zero."""
        scale, rotation, translation = self.space.pose(landmarks)
        unit, origin = float(scale[0]), translation[0]
        return self._posed(scale / unit, rotation, (translation - origin) / unit, None, fps)

    def _person(self, landmarks: Array) -> Person:
        scale, _, translation = self.space.pose(landmarks[:1])
        neutral = self.space.neutral(self._meshes(landmarks)[0])
        return Person(neutral, self.space.gain(neutral), float(scale[0]), translation[0])

    def _meshes(self, landmarks: Array) -> tuple[Array, Array, Array, Array]:
        """Meshes (T, 478, 3) in the head's frame and face units; scale, R and translation in pixels."""
        scale, rotation, translation = self.space.pose(landmarks)
        meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
        return meshes, scale, rotation, translation

    def _motion(self, landmarks: Array, person: Person, fps: Fraction) -> Motion:
        meshes, scale, rotation, translation = self._meshes(landmarks)
        expression = self.space.encode((meshes - person.neutral) / person.gain)
        return self._posed(
            scale / person.unit, rotation, (translation - person.origin) / person.unit, expression @ rotation, fps
        )

    def _posed(
        self, scale: Array, rotation: Array, translation: Array, expression: Array | None, fps: Fraction
    ) -> Motion:
        if expression is None:
            expression = np.zeros((len(scale), N_KEYPOINTS, 3), np.float32)
        angles = rotation_angles(rotation)
        return Motion(scale[:, None], angles, translation, expression, fps, self.space.id)


class VideoMotion:
    """The motion of the largest face in a video; the video is read whenever one iterates over it.

    Frames without a face hold the last motion, those before the first face that of the first face.

    Attributes:
        fps: frames a second of the motion.
        frames_hint: how many frames the container promises, or None.
        without_face: how many of the video's frames had no face, as far as it has been read.
    """

    def __init__(self, reader: MotionReader, path: str | PathLike[str], fps: Fraction | None = None) -> None:
        """Look at the file.

        Args:
            reader: of the motion space.
            path: the video.
            fps: frames a second wanted, reached by interpolation; None for the video's own.

        Raises:
            InputError: the video cannot be read.
        """
        clip = probe(path)
        self._reader, self._path = reader, path
        self._own = min(max(clip.fps, SLOWEST), FASTEST).limit_denominator(FINEST)
        self.fps = fps or self._own
        self.frames_hint = None if clip.duration is None else max(1, round(clip.duration * self.fps))
        self.without_face = self._before = 0

    def __iter__(self) -> Iterator[Motion]:
        """The motion, in pieces.

        Warns at the end if frames had no face.

        Raises:
            InputError: the video cannot be read.
            FaceNotFound: no frame has a face.
        """
        state, frames = resample.start(self.fps), 0
        for motion in self._own_rate():
            frames += len(motion)
            piece, state = resample.step(motion, state)
            if piece is not None:
                yield piece
        rest = resample.finish(state, max(1, round(frames * self.fps / self._own)))
        if rest is not None:
            yield rest
        if self.without_face:
            warnings.warn(
                f"{self.without_face} of {frames} frames of {self._path} have no face: there the last motion is held",
                stacklevel=2,
            )

    def _own_rate(self) -> Iterator[Motion]:
        """The motion at the rate at which the video is looked at."""
        first: Motion | None = None
        for motion in self._read():
            if first is None:
                first = motion[:1]
                for start in range(0, self._before, AT_ONCE):
                    yield Motion.concatenate([first] * min(AT_ONCE, self._before - start))
            yield motion
        if first is None:
            raise FaceNotFound(f"no face found in the video {self._path}: use one with an upright face in view")

    def _read(self) -> Iterator[Motion]:
        """The motion from the first frame with a face on."""
        self.without_face = self._before = 0
        state = self._reader.start(self._own)
        images: list[Image] = []
        faces: list[Face] = []
        for image, face, seen in _followed(self._path, self._own):
            self.without_face += not seen
            if face is None:
                self._before += 1
                continue
            images.append(image)
            faces.append(face)
            if len(faces) == AT_ONCE:
                motion, state = self._reader.step(images, faces, state)
                images, faces = [], []
                if motion:
                    yield motion
        if faces:
            motion, state = self._reader.step(images, faces, state)
            if motion:
                yield motion
        rest = self._reader.finish(state)
        if rest:
            yield rest


def pose_of_video(
    space: FaceMeshSpace,
    path: str | PathLike[str],
    seconds: Fraction | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Motion:
    """Scale, rotation and translation of the largest face in a video, at 25 fps; the expression is left at zero.

    It begins with the first frame that has a face; later frames without one hold the last pose.

    Args:
        space: the motion space.
        path: the video.
        seconds: where to stop, counted from the first frame with a face; None for the whole video.
        progress: told of the frames done and, where ``seconds`` tells it, of how many there are at most.

    Raises:
        InputError: the video cannot be read.
        FaceNotFound: no frame has a face.
    """
    landmarks = []
    wanted = None if seconds is None else max(1, ceil(seconds * FPS))
    for _, face, _ in _followed(path, FPS):
        if face is not None:
            landmarks.append(face.landmarks)
        if progress:
            progress(len(landmarks), wanted)
        if len(landmarks) == wanted:
            break
    if not landmarks:
        raise FaceNotFound(f"no face found in the video {path}")
    return FaceMeshReader(space).pose(np.stack(landmarks), FPS)


def _followed(path: str | PathLike[str], fps: Fraction) -> Iterator[tuple[Image, Face | None, bool]]:
    """A video's frames, the face in each or else the last one seen (None before the first), and whether it was seen."""
    last: Face | None = None
    with FaceFollower() as follow:
        for image in read_frames(path, fps):
            face = follow(image)
            last = face or last
            yield image, last, face is not None
