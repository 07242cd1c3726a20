"""Writes datasets (``kptalk.train.dataset``): shards of bounded size, then index, statistics and card.

The same clips in the same order give the same bytes. A shard describes itself: its header has the rows of its clips and
whatever else its writer notes, so that the index can be made of the shards alone.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kptalk.audio import mean_norm
from kptalk.errors import DatasetError
from kptalk.files import atomic_write, explain, make_folder, write_bytes
from kptalk.motion.generator import FPS
from kptalk.train.dataset import CARD, INDEX, UNKNOWN, VERSION, Quality, Texts, TrackedClip, shard_name
from kptalk.types import SAMPLE_RATE, Motion

SHARD_BYTES = 256_000_000  # at most, unless one clip alone is larger
Tensors = dict[str, NDArray[Any]]
Row = dict[str, Any]


@dataclass(frozen=True)
class ClipRecord:
    """One clip as it is written: its ``row`` of the index, its ``tensors``, and ``sums`` for the statistics."""

    row: Row
    tensors: Tensors
    sums: dict[str, list[float]]

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def record_of(
    clip: TrackedClip,
    name: str,
    quality: Quality = UNKNOWN,
    motion: Motion | None = None,
    thumbnail: bytes = b"",
) -> ClipRecord:
    """What is written of a clip, with its motion in some space; the sound has 16 bits."""
    tensors: Tensors = {
        "landmarks": np.ascontiguousarray(clip.landmarks, np.float32),
        "sound": np.round(np.clip(clip.sound, -1, 1) * 32767).astype(np.int16),
        "thumbnail": np.frombuffer(thumbnail, np.uint8),
    }
    mel = clip.mel()[0].astype(np.float64)
    weight = mean_norm.speech_weight(mel)
    parts = {"mel": mel, "speech_mel": mel * weight[:, None]}
    counts = {"mel": len(mel), "speech_mel": float(weight.sum())}
    if motion is not None:
        fields = (motion.scale, motion.rotation, motion.translation, motion.expression.reshape(len(motion), -1))
        tensors["motion"] = np.concatenate(fields, 1)
        parts["motion"], counts["motion"] = tensors["motion"].astype(np.float64), len(motion)
    sums = {key: [counts[key], *values.sum(0), *(values**2).sum(0)] for key, values in parts.items()}
    row = {
        "name": name,
        "identity": clip.identity,
        "frames": len(clip.landmarks),
        "video": str(clip.video),
        "first": clip.first,
        "space": motion.space if motion else None,
        # as in the index: the last digits of a double depend on the machine's threads, and bytes must not
        "quality": [float(np.float32(value)) if np.isfinite(value) else None for value in quality],
    }
    return ClipRecord(row, tensors, sums)


@dataclass
class ShardWriter:
    """Gathers clips, and writes a shard whenever the next one would make it too large.

    ``number`` is that of the next shard; ``head`` is in the header of each, beside the rows of its clips and the notes.
    """

    folder: Path
    limit: int = SHARD_BYTES
    number: int = 0
    head: Row = field(default_factory=dict)
    _records: list[ClipRecord] = field(default_factory=list)
    _notes: list[Row] = field(default_factory=list)
    _size: int = 0

    def add(self, record: ClipRecord) -> bool:
        """Add a clip; True where this wrote the shard before it.

        Raises:
            OutputError: the shard cannot be written.
        """
        full = bool(self._records) and self._size + record.size > self.limit
        if full:
            self.flush()
        self._records.append(record)
        self._size += record.size
        return full

    def note(self, row: Row) -> None:
        """Keep a row with the clips added so far."""
        self._notes.append(row)

    def flush(self) -> None:
        """Write what is left as a shard.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._records and not self._notes:
            return
        tensors = {
            f"{n}.{name}": tensor for n, record in enumerate(self._records) for name, tensor in record.tensors.items()
        }
        head = {
            **self.head,
            "clips": [record.row for record in self._records],
            "notes": self._notes,
            "sums": _added(self._records),
        }
        # One entry: safetensors writes several in any order.
        content = save(tensors, {"kptalk": json.dumps(head)})
        write_bytes(self.folder / shard_name(self.number), content)
        self.number += 1
        self._records, self._notes, self._size = [], [], 0


def _added(records: Iterable[ClipRecord]) -> dict[str, list[float]]:
    total: dict[str, NDArray[np.float64]] = {}
    for record in records:
        for key, values in record.sums.items():
            total[key] = total.get(key, np.zeros(len(values))) + np.array(values)
    return {key: values.tolist() for key, values in total.items()}


def shard_heads(folder: Path) -> Iterator[dict[str, Any]]:
    """What the headers of the shards say: ``clips``, ``notes``, ``sums``; in order.

    Raises:
        DatasetError: a shard is damaged.
    """
    for number in range(len(list(folder.glob(shard_name(0).replace("00000", "*"))))):
        path = folder / shard_name(number)
        try:
            with safe_open(path, framework="numpy") as file:
                yield json.loads((file.metadata() or {})["kptalk"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DatasetError(f"cannot read shard {path}: {explain(error)}; prepare the videos anew") from error


def write_index(folder: Path, options: Row | None = None) -> None:
    """Make index, statistics and card of the shards in a folder, which by this becomes a dataset.

    Args:
        folder: with the shards.
        options: what they were made with.

    Raises:
        DatasetError: a shard is damaged.
        OutputError: the files cannot be written.
    """
    rows: list[tuple[Any, ...]] = []
    people: dict[str, int] = {}
    videos: dict[str, int] = {}
    names, sums, spaces = [], [], set()
    for number, head in enumerate(shard_heads(folder)):
        sums.append(ClipRecord({}, {}, head["sums"]))
        for position, row in enumerate(head["clips"]):
            person = people.setdefault(row["identity"], len(people))
            video = videos.setdefault(row["video"], len(videos))
            names.append(row["name"])
            spaces.add(row["space"])
            rows.append((number, position, row["frames"], row["first"], person, video, *row["quality"]))
    if len(set(names)) != len(names) or len(spaces) > 1:
        raise DatasetError(f"{folder} has two clips of one name, or motion of two spaces: prepare the videos anew")
    table = np.array(rows, np.float64).reshape(len(rows), 6 + len(Quality._fields))
    order = {person: place for place, person in enumerate(sorted(people))}
    sorted_place = np.array([order[person] for person in people], np.int64)
    columns: Tensors = {
        key: table[:, k].astype(np.int64) for k, key in enumerate(("shard", "position", "frames", "first"))
    }
    columns["person"] = sorted_place[table[:, 4].astype(np.int64)] if rows else np.zeros(0, np.int64)
    columns["video"] = table[:, 5].astype(np.int64)
    columns["quality"] = table[:, 6:].astype(np.float32)
    for key, texts in (("name", names), ("people", sorted(people)), ("videos", list(videos))):
        columns[key], columns[f"{key}.ends"] = Texts.arrays(texts)
    write_bytes(folder / INDEX, save({key: np.ascontiguousarray(column) for key, column in columns.items()}))
    frames = int(columns["frames"].sum())
    card = {
        "kptalk": "dataset",
        "version": VERSION,
        "fps": float(FPS),
        "sample_rate": SAMPLE_RATE,
        "space": next(iter(spaces), None),
        "clips": len(names),
        "people": len(people),
        "videos": len(videos),
        "frames": frames,
        "hours": round(frames / float(FPS) / 3600, 4),
        "shards": len(sums),
        "options": options or {},
        "statistics": _statistics(_added(sums)),
    }
    with atomic_write(folder / CARD) as temporary:
        temporary.write_text(_readable(card), "utf-8")


def _readable(card: Row) -> str:
    """JSON with a line for every list of numbers."""
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(card, indent=1)) + "\n"


def _statistics(sums: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Count, mean and standard deviation of each feature."""
    found = {}
    for key, values in sums.items():
        count, (total, squares) = values[0], np.array(values[1:]).reshape(2, -1)
        mean = total / max(count, 1e-9)
        row = {"count": round(count, 3), "mean": mean.round(6).tolist()}
        if key != "speech_mel":  # whose weights are not those of its squares
            row["std"] = np.sqrt(np.maximum(squares / max(count, 1e-9) - mean**2, 0)).round(6).tolist()
        found[key] = row
    return found


def write_dataset(folder: Path, records: Iterable[ClipRecord], limit: int = SHARD_BYTES) -> None:
    """Write a dataset at once.

    Raises:
        DatasetError: two clips have one name.
        OutputError: it cannot be written.
    """
    make_folder(folder)
    writer = ShardWriter(folder, limit)
    for record in records:
        writer.add(record)
    writer.flush()
    write_index(folder)
