"""Motion of the space ``facemesh`` from the landmarks of a video."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from kptalk.face.geometry import rotation_angles
from kptalk.face.landmarks import N_LANDMARKS
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.filters import buffer, savgol
from kptalk.motion.filters.buffer import FrameBuffer
from kptalk.types import Array, Face, Floats, Image, Motion

NEUTRAL_SECONDS = 10  # of a video's beginning, in which the person's neutral face is looked for


@dataclass(frozen=True)
class Person:
    """``neutral`` (478, 3) mesh, ``gain`` (478, 3) of its expressions; size and place in the first frame, in pixels."""

    neutral: Array
    gain: Array
    unit: float
    origin: Array


@dataclass(frozen=True)
class FaceMeshReaderState:
    """Landmarks (n, 478, 3) that wait until the person is known; then how that person is measured, and the head."""

    fps: Fraction
    waiting: Array
    person: Person | None = None
    head: FrameBuffer = field(default_factory=FrameBuffer)


class FaceMeshReader:
    """Reads landmarks, not pictures.

    Scale and translation are relative to the first frame; the tracker's noise is taken out of the pose. The expression
    is what the mesh adds to the person's own neutral mesh, divided by how large this person's mouth and eyes open:
    neither the shape of the face nor its habits of size are left in it. The neutral mesh is taken from the first ten
    seconds, so these are held back.
    """

    def __init__(self, space: FaceMeshSpace) -> None:
        self.space = space

    def start(self, fps: Fraction) -> FaceMeshReaderState:
        return FaceMeshReaderState(fps, np.zeros((0, N_LANDMARKS, 3), np.float32))

    def step(
        self, images: Sequence[Image], faces: Sequence[Face], state: FaceMeshReaderState
    ) -> tuple[Motion | None, FaceMeshReaderState]:
        """See ``MotionReader``; the pictures are not looked at."""
        landmarks = np.concatenate([state.waiting, np.stack([face.landmarks for face in faces])])
        if state.person is None and len(landmarks) < NEUTRAL_SECONDS * state.fps:
            return None, replace(state, waiting=landmarks)
        return self._known(replace(state, waiting=landmarks))

    def finish(self, state: FaceMeshReaderState) -> Motion | None:
        if state.person is None and not len(state.waiting):
            return None
        motion, state = self._known(state)
        return Motion.concatenate([motion, buffer.finish(savgol.smooth, state.head)[0]])

    def _known(self, state: FaceMeshReaderState) -> tuple[Motion, FaceMeshReaderState]:
        """The landmarks that wait as motion, as far as the head can be steadied."""
        person = state.person or self._person(state.waiting)
        motion = self._motion(state.waiting, person, state.fps)
        activity = np.zeros(len(motion), np.float32)
        motion, _, head = buffer.step(savgol.smooth, savgol.radius(state.fps), motion, activity, state.head)
        return motion, replace(state, waiting=state.waiting[:0], person=person, head=head)

    def _person(self, landmarks: Array) -> Person:
        meshes, scale, _, translation = self._meshes(landmarks)
        neutral = self.space.neutral(meshes)
        return Person(neutral, self.space.gain(neutral), float(scale[0]), translation[0])

    def _meshes(self, landmarks: Array) -> tuple[Floats, Array, Array, Array]:
        """Meshes (T, 478, 3) in the head's frame and face units; scale, R and translation in pixels."""
        scale, rotation, translation = self.space.pose(landmarks)
        meshes = (landmarks - translation[:, None]) / scale[:, None, None] @ np.swapaxes(rotation, -1, -2)
        return meshes, scale, rotation, translation

    def _motion(self, landmarks: Array, person: Person, fps: Fraction) -> Motion:
        meshes, scale, rotation, translation = self._meshes(landmarks)
        return Motion(
            scale=(scale / person.unit)[:, None],
            rotation=rotation_angles(rotation),
            translation=(translation - person.origin) / person.unit,
            expression=self.space.encode((meshes - person.neutral) / person.gain) @ rotation,
            fps=fps,
            space=self.space.id,
        )
