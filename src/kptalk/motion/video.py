"""Motion of the person in a video, read as a stream: memory does not grow with the length of the video."""

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from os import PathLike

from kptalk.errors import FaceNotFound, OptionError
from kptalk.face.follow import FaceFollower
from kptalk.limits import MAX_DENOMINATOR, MAX_FPS, MIN_FPS
from kptalk.media.clip import probe, read_frames
from kptalk.motion.filters import resample
from kptalk.motion.space import MotionReader, ReaderStateT
from kptalk.types import Face, Image, Motion

BATCH_SIZE = 16  # frames read before they become motion


class VideoMotion:
    """The motion of the largest face in a video; the video is read whenever one iterates over it.

    Frames without a face hold the last motion, those before the first face that of the first face.

    Attributes:
        fps: frames per second of the motion.
        frames_hint: how many frames the container promises, or None.
        without_face: how many of the video's frames had no face, as far as it has been read.
    """

    def __init__(
        self, reader: MotionReader[ReaderStateT], path: str | PathLike[str], fps: Fraction | None = None
    ) -> None:
        """Look at the file.

        Args:
            reader: of the motion space.
            path: the video.
            fps: frames per second of the result, reached by interpolation; None for the video's own.

        Raises:
            InputError: the video cannot be read.
            OptionError: not 1 to 120 frames per second.
        """
        if fps is not None and not MIN_FPS <= fps <= MAX_FPS:
            raise OptionError(f"fps is {str(fps)[:20]}: give {MIN_FPS} to {MAX_FPS}")
        clip = probe(path)
        self._path, self._read = path, partial(self._motion_of_faces, reader)
        self._own = min(max(clip.fps, Fraction(MIN_FPS)), Fraction(MAX_FPS)).limit_denominator(MAX_DENOMINATOR)
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
        state, frames = resample.ResampleState(self.fps), 0
        for motion in self._own_rate():
            frames += len(motion)
            piece, state = resample.step(motion, state)
            if len(piece):
                yield piece
        yield resample.finish(state, max(1, round(frames * self.fps / self._own)))
        if self.without_face:
            warnings.warn(
                f"face found in only {frames - self.without_face} of {frames} frames of {self._path}: "
                "the others hold the last motion",
                stacklevel=2,
            )

    def read(
        self, seconds: Fraction | None = None, on_progress: Callable[[int, int | None], None] | None = None
    ) -> Motion:
        """The whole motion, or its first ``seconds``; ``on_progress`` gets the frames read and, if known, their total.

        Raises:
            InputError, FaceNotFound: as when iterating.
        """
        limit = None if seconds is None else max(1, -int(-seconds * self.fps // 1))
        pieces, known = [], 0
        for piece in self:
            pieces.append(piece)
            known += len(piece)
            if on_progress:
                on_progress(known, self.frames_hint if limit is None else limit)
            if limit is not None and known >= limit:
                break
        return Motion.concatenate(pieces)[:limit]

    def _own_rate(self) -> Iterator[Motion]:
        """The motion at the rate at which the video is looked at."""
        first: Motion | None = None
        for motion in self._read():
            if first is None:
                first = motion[:1]
                for start in range(0, self._before, BATCH_SIZE):
                    yield first.repeat(min(BATCH_SIZE, self._before - start))
            yield motion
        if first is None:
            raise FaceNotFound(f"no face found in the video {self._path}: use one with an upright face in view")

    def _motion_of_faces(self, reader: MotionReader[ReaderStateT]) -> Iterator[Motion]:
        """The motion from the first frame with a face on."""
        self.without_face = self._before = 0
        state = reader.start(self._own)
        images: list[Image] = []
        faces: list[Face] = []
        for image, face in self._followed():
            if face is None:
                self._before += 1
                continue
            images.append(image)
            faces.append(face)
            if len(faces) == BATCH_SIZE:
                motion, state = reader.step(images, faces, state)
                images, faces = [], []
                if motion:
                    yield motion
        if faces:
            motion, state = reader.step(images, faces, state)
            if motion:
                yield motion
        rest = reader.finish(state)
        if rest:
            yield rest

    def _followed(self) -> Iterator[tuple[Image, Face | None]]:
        """The video's frames, and the face in each or else the last one seen; None before the first."""
        last: Face | None = None
        with FaceFollower() as follow:
            for image in read_frames(self._path, self._own):
                face = follow(image)
                self.without_face += face is None
                last = face or last
                yield image, last
