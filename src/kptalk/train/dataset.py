"""A dataset of tracked clips: a folder with an index and shards, from which any part of any clip is read by itself.

    dataset.json          what the folder is, how it was made, and statistics over all clips
    index.safetensors     one row a clip: where it lies, whose face it shows, and how good it is
    shard-00000.safetensors ...   the clips themselves, many to a file: ``3.landmarks``, ``3.sound``, ...

Nothing but numbers, text and JSON is in them, and nothing is read before it is asked for: an open dataset of
200,000 clips takes some tens of megabytes. ``kptalk.train.shards`` writes these files.
"""

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from kptalk.audio.mel import FRAME_RATE, mel_spectrogram
from kptalk.errors import DatasetError, MotionError
from kptalk.files import explain
from kptalk.motion.generator import FPS
from kptalk.types import SAMPLE_RATE, Array, Motion

CARD, INDEX = "dataset.json", "index.safetensors"
VERSION = 1
SAMPLES = int(SAMPLE_RATE / FPS)  # of sound, a frame
OPEN_SHARDS = 8  # at once


class Quality(NamedTuple):
    """How good a clip is; ``nan`` where it was not measured."""

    face_width: float = float("nan")  # pixels, median
    sharpness: float = float("nan")  # variance of the Laplacian of the face at 128 pixels, median
    yaw: float = float("nan")  # degrees from the camera, median
    speech_level: float = float("nan")  # dB of full scale, where there is speech
    sync_lag: float = float("nan")  # frames that the sound came late, as it was before the repair
    sync_correlation: float = float("nan")  # of lips and sound, as the sync model hears them


UNKNOWN = Quality()


@dataclass(frozen=True)
class ClipEntry:
    """One row of the index.

    Attributes:
        name: the video's, the number of the scene and of the face in it: ``id00012/21Uxsk56VDQ/00001.0.0``.
        identity: whose face it is.
        frames: how many, at 25 fps.
        video: the file that it was made of.
        first: frame of that file, at 25 fps, that the clip begins with.
        shard, position: number of the shard, and of the clip in it.
        quality: measured by ``kptalk prepare``.
    """

    name: str
    identity: str
    frames: int
    video: Path
    first: int
    shard: int
    position: int
    quality: Quality


@dataclass(frozen=True)
class TrackedClip:
    """One face followed through one scene, and its sound.

    Attributes:
        landmarks: (T, 478, 3) float32 pixels of the video.
        sound: (N,) float32 at 16 kHz, which begins with the first frame.
        identity: whose face it is.
        video: the file that it was made of.
        first: frame of that file, at 25 fps, that the landmarks begin with.
        motion: in the dataset's motion space, or None where it was not made.
    """

    landmarks: Array
    sound: Array
    identity: str
    video: Path = Path()
    first: int = 0
    motion: Motion | None = None

    def mel(self) -> tuple[Array, int]:
        """Mel frames (M, 80) of the sound, and how many video frames they last at most."""
        mel = mel_spectrogram(self.sound).T.astype(np.float32)
        return mel, (len(mel) - 1) * int(FPS) // FRAME_RATE


class Texts(Sequence[str]):
    """Many strings in two arrays: their UTF-8 bytes, and where each ends."""

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._content, self._ends = content.tobytes(), ends
        if (np.diff(ends, prepend=0, append=len(content)) < 0).any() or (len(ends) and ends[-1] != len(content)):
            raise ValueError("its texts do not fit their ends")

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self._content[self._ends[number - 1] if number else 0 : self._ends[number]].decode(errors="replace")

    @staticmethod
    def arrays(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The two arrays of some strings."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        return np.frombuffer(b"".join(encoded), np.uint8), ends


class ClipEntries(Sequence[ClipEntry]):
    """The rows of an index, each made when it is asked for.

    Attributes:
        frames: (n,) int64 of all clips.
        people: names, in alphabetical order.
        person: (n,) int64, number in ``people`` of each clip.
        shard: (n,) int64 of all clips, ascending.
        quality: (n, 6) float32, columns as in ``Quality``.
    """

    def __init__(self, columns: dict[str, NDArray[Any]]) -> None:
        self._names, self.people, self._videos = (
            Texts(columns[name], columns[f"{name}.ends"]) for name in ("name", "people", "videos")
        )
        self.frames, self.person, self.shard = columns["frames"], columns["person"], columns["shard"]
        self.quality: Array = columns["quality"]
        self._first, self._position, self._video = columns["first"], columns["position"], columns["video"]
        rows = (self.frames, self.person, self.shard, self.quality, self._first, self._position, self._video)
        if {len(column) for column in rows} != {len(self._names)} or self.quality.shape[1] != len(Quality._fields):
            raise ValueError("its columns do not fit each other")
        numbers = np.array(rows[:3] + rows[4:])
        if numbers.min(initial=0) < 0 or max(self.person, default=-1) >= len(self.people):
            raise ValueError("its rows hold numbers that cannot be")
        if max(self._video, default=-1) >= len(self._videos):
            raise ValueError("its rows name videos that it does not know")

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ClipEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClipEntry]: ...
    def __getitem__(self, index: int | slice) -> ClipEntry | list[ClipEntry]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return ClipEntry(
            self._names[number],
            self.people[self.person[number]],
            int(self.frames[number]),
            Path(self._videos[self._video[number]]),
            int(self._first[number]),
            int(self.shard[number]),
            int(self._position[number]),
            Quality(*self.quality[number].tolist()),
        )


class Dataset:
    """A folder that ``kptalk prepare`` filled, open to read; it can be sent to another process.

    Attributes:
        folder: where it lies.
        clips: its rows, in the order of the shards.
        card: what ``dataset.json`` says: ``space`` and ``options`` it was made with, ``statistics`` over all clips.
    """

    def __init__(self, folder: Path, clips: ClipEntries, card: dict[str, Any]) -> None:
        self.folder, self.clips, self.card = folder, clips, card
        self._open: OrderedDict[int, Any] = OrderedDict()

    @classmethod
    def open(cls, folder: Path) -> "Dataset":
        """Read the index of a dataset.

        Raises:
            DatasetError: there is none, it is damaged, or of another version.
        """
        if not (folder / CARD).is_file():
            unfinished = folder.is_dir() and any(folder.glob("shard-*.safetensors"))
            state = "is not finished" if unfinished else "is no dataset"
            raise DatasetError(f"{folder} {state}: make it with 'kptalk prepare VIDEOS -o {folder}'")
        try:
            card = json.loads((folder / CARD).read_text("utf-8"))
            if card["kptalk"] != "dataset" or card["version"] != VERSION:
                raise ValueError(f"not a dataset of version {VERSION}")
            with safe_open(folder / INDEX, framework="numpy") as file:
                clips = ClipEntries({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            raise DatasetError(f"cannot read dataset {folder}: {explain(error)}; prepare it again") from error
        return cls(folder, clips, card)

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[TrackedClip]:
        """All clips whole, one after the other."""
        return map(self.load, self.clips)

    def load(self, entry: ClipEntry, frames: slice | None = None) -> TrackedClip:
        """A clip or some of its frames, with the sound of these; no more than that is read.

        Args:
            entry: one of ``clips``.
            frames: a slice of the clip's frames without a step; None for all.

        Raises:
            DatasetError: the shard is missing or damaged.
            IndexError: the slice is empty.
        """
        start, stop, _ = (frames or slice(None)).indices(entry.frames)
        if start >= stop:
            raise IndexError(f"no frames are chosen of clip {entry.name}, which has {entry.frames}")
        whole = stop == entry.frames
        try:
            shard = self._shard(entry.shard)
            part = slice(start, stop)
            landmarks = shard.get_slice(f"{entry.position}.landmarks")[part]
            sound = shard.get_slice(f"{entry.position}.sound")
            sound = sound[start * SAMPLES : sound.get_shape()[0] if whole else stop * SAMPLES]
            space = self.card["space"]
            motion = _motion(shard.get_slice(f"{entry.position}.motion")[part], space) if space else None
        except (OSError, SafetensorError, KeyError, ValueError, MotionError) as error:
            raise DatasetError(
                f"cannot read clip {entry.name} of {self.folder}: {explain(error)}; prepare it again"
            ) from error
        if landmarks.shape != (stop - start, 478, 3):
            raise DatasetError(
                f"clip {entry.name} of {self.folder} has landmarks of shape {landmarks.shape}, expected (T, 478, 3)"
            )
        sound = sound.astype(np.float32) / 32767
        return TrackedClip(landmarks, sound, entry.identity, entry.video, entry.first + start, motion)

    def thumbnail(self, entry: ClipEntry) -> bytes:
        """The clip's first face as JPEG; empty where there is none.

        Raises:
            DatasetError: the shard is missing or damaged.
        """
        try:
            return bytes(self._shard(entry.shard).get_tensor(f"{entry.position}.thumbnail"))
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"cannot read clip {entry.name} of {self.folder}: {explain(error)}") from error

    def _shard(self, number: int) -> Any:
        """The shard's file, mapped into memory; few are open at once."""
        if number not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)
            self._open[number] = safe_open(self.folder / shard_name(number), framework="numpy")
        self._open.move_to_end(number)
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def shard_name(number: int) -> str:
    """A shard's file."""
    return f"shard-{number:05d}.safetensors"


def _motion(values: Array, space: str) -> Motion:
    """(T, 7 + 3 K) of a shard: scale, yaw, pitch, roll, translation, expression."""
    scale, rotation, translation, expression = np.split(values, [1, 4, 7], axis=1)
    return Motion(scale, rotation, translation, expression.reshape(len(values), -1, 3), FPS, space)
