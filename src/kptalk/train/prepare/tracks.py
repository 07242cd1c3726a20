"""Follows every face through every scene of a video, in one pass over its frames."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from kptalk.face.detector import Detection, detect
from kptalk.face.geometry import square_around
from kptalk.face.landmarks import FaceMesh
from kptalk.motion.generator import FPS
from kptalk.motion.space import MotionReader
from kptalk.train.prepare.scenes import CutDetector
from kptalk.types import Array, Face, Image, Motion

LOOK_EVERY = 12  # frames between two looks for more faces
GAP = 5  # frames without the face that are bridged with the last landmarks
SETTLING = 3  # more looks at the first frame: each begins where the last one found the face, the first at a mere box
JUMP = 0.35  # of the face's width between two frames: another person, or a cut that was not seen
SAME, TWINS = 0.3, 0.6  # intersection over union of boxes of one face, and of two tracks that have become one
MEASURE_EVERY = 5  # frames between two measurements of sharpness
BATCH = 16  # frames read before they become motion
THUMBNAIL = 96  # pixels
FACE_SIDE = 128  # pixels at which sharpness is measured, whatever the size of the face


@dataclass
class Track:
    """One face in one scene; ``number`` counts those of the video's scene.

    Attributes:
        first: frame at 25 fps, counted from where the video was begun.
        landmarks: (478, 3) of every frame.
        sharpness: variance of the Laplacian of the face, of some frames.
        thumbnail: JPEG of the face.
    """

    scene: int
    number: int
    first: int
    mesh: FaceMesh
    reader: MotionReader[Any] | None
    landmarks: list[Array] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    thumbnail: bytes = b""
    missing: int = 0
    _state: Any = None
    _waiting: list[tuple[Image, Face]] = field(default_factory=list)
    _motion: list[Motion] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.landmarks)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Of the last face."""
        return Face(self.landmarks[-1]).box

    def look(self, image: Image) -> bool:
        """Add the next frame; False where the face is not in it or has jumped, and nothing is added."""
        face = self.mesh(image)
        if face is None or self._jumped(face):
            self.mesh.reset()
            return False
        for _ in range(self.missing):
            self._add(image, Face(self.landmarks[-1]))
        self.missing = 0
        self._add(image, face)
        return True

    def motion(self) -> Motion | None:
        """All of it in the reader's space; None without a reader."""
        if self.reader is None:
            return None
        self._read()
        rest = self.reader.finish(self._state)
        return Motion.concatenate([*self._motion, *([rest] if rest else [])])

    def _jumped(self, face: Face) -> bool:
        if not self.landmarks:
            return False
        before = self.landmarks[-1]
        away = np.linalg.norm(face.landmarks[1, :2] - before[1, :2])
        return bool(away > JUMP * np.ptp(before[:, 0]) * (1 + self.missing))

    def _add(self, image: Image, face: Face) -> None:
        if len(self) % MEASURE_EVERY == 0:
            cut = _cut(image, face, 1.0, FACE_SIDE)
            self.sharpness.append(float(cv2.Laplacian(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var()))
        if len(self) == LOOK_EVERY or not self.thumbnail:
            jpeg = cv2.imencode(".jpg", cv2.cvtColor(_cut(image, face, 1.5, THUMBNAIL), cv2.COLOR_RGB2BGR))[1]
            self.thumbnail = jpeg.tobytes()
        self.landmarks.append(face.landmarks)
        if self.reader is not None:
            self._waiting.append((image, face))
            if len(self._waiting) == BATCH:
                self._read()

    def _read(self) -> None:
        assert self.reader is not None
        if self._state is None:
            self._state = self.reader.start(FPS)
        if self._waiting:
            images, faces = zip(*self._waiting, strict=True)
            piece, self._state = self.reader.step(images, faces, self._state)
            self._motion += [piece] if piece else []
            self._waiting = []


@dataclass
class Follower:
    """The tracks of a video, each handed out when it ends.

    Attributes:
        reader: of the motion space, or None.
        longest: frames after which a track ends and another goes on.
        smallest: pixels of a detected face that is followed at all.
        region: x0, y0, x1, y1 of the middle of the face, see ``Source``.
        frames: how many were seen.
        widest: pixels of the widest face that was too small.
    """

    reader: MotionReader[Any] | None
    longest: int
    smallest: float
    region: tuple[float, float, float, float] | None = None
    frames: int = 0
    widest: float = 0.0
    _tracks: list[Track] = field(default_factory=list)
    _scene: int = 0
    _number: int = 0

    def follow(self, images: Iterable[Image]) -> Iterator[Track]:
        """All tracks of frames (H, W, 3) uint8 RGB at 25 fps."""
        cut = CutDetector()
        for image in images:
            if cut(image):
                yield from self._tracks
                self._tracks, self._scene, self._number = [], self._scene + 1, 0
            yield from self._step(image)
            self.frames += 1
        yield from self._tracks

    def _step(self, image: Image) -> Iterator[Track]:
        lost = [track for track in self._tracks if track.missing or not track.look(image)]
        self._tracks = [track for track in self._tracks if track.landmarks]  # one that has just begun may see nothing
        if lost or self.frames % LOOK_EVERY == 0 or (not self._tracks and self.frames % GAP == 0):
            found = [each for each in detect(image) if self._wanted(each, image)]
            for track in lost:
                if track.landmarks:
                    self._find_again(track, found, image)
            self._begin(found, image)
        for track in list(self._tracks):
            before = [other for other in self._tracks if other.number < track.number and other.landmarks]
            twin = any(_overlap(track.box, other.box) > TWINS for other in before)
            if track.missing > GAP or twin:
                self._tracks.remove(track)
                yield track
            elif len(track) >= self.longest:
                self._tracks.remove(track)
                yield track
                self._tracks.append(self._new(track.mesh, self.frames + 1))

    def _find_again(self, track: Track, found: list[Detection], image: Image) -> None:
        """Look for a face that was lost where a detector sees one, near where it was."""
        near = [each for each in found if _overlap(each.box, track.box) > 0]
        if near:
            track.mesh.look_at(near[0])
            if track.look(image):
                return
        track.missing += 1

    def _begin(self, found: list[Detection], image: Image) -> None:
        """Begin tracks of faces that are not followed yet."""
        for each in found:
            if any(_overlap(each.box, track.box) > SAME / 3 for track in self._tracks):
                continue
            mesh = FaceMesh(video=True)
            mesh.look_at(each)
            face = None
            for _ in range(SETTLING):
                face = mesh(image)
                if face is None:
                    break
            if face is None or any(_overlap(face.box, track.box) > SAME for track in self._tracks):
                continue
            track = self._new(mesh, self.frames)
            if track.look(image):
                self._tracks.append(track)

    def _new(self, mesh: FaceMesh, first: int) -> Track:
        track = Track(self._scene, self._number, first, mesh, self.reader)
        self._number += 1
        return track

    def _wanted(self, found: Detection, image: Image) -> bool:
        x0, y0, x1, y1 = found.box
        if x1 - x0 < self.smallest:
            self.widest = max(self.widest, float(x1 - x0))
            return False
        if self.region is None:
            return True
        height, width = image.shape[:2]
        scale = (width, height) if max(self.region) <= 2 else (1, 1)
        x, y = (x0 + x1) / 2 / scale[0], (y0 + y1) / 2 / scale[1]
        return bool(self.region[0] <= x <= self.region[2] and self.region[1] <= y <= self.region[3])


def _overlap(a: Any, b: Any) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(0.0, float(width)) * max(0.0, float(height))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return inner / max(float(areas) - inner, 1e-6)


def _cut(image: Image, face: Face, scale: float, side: int) -> Image:
    """The square around a face at another size; beyond the picture its edge repeats."""
    x, y, length = square_around(face.box, scale)
    zoom = side / max(length, 1.0)
    affine = np.array([[zoom, 0, side / 2 - zoom * x], [0, zoom, side / 2 - zoom * y]])
    smooth = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    with suppress(cv2.error):
        out: Image = cv2.warpAffine(image, affine, (side, side), flags=smooth, borderMode=cv2.BORDER_REPLICATE)
        return out
    return np.zeros((side, side, 3), np.uint8)
