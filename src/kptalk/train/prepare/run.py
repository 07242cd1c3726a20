"""The whole of ``kptalk prepare``: sources to workers, their clips to shards in order, index and report at the end.

It may be killed at any moment. Shards are written in the order of the sources, each names the sources that end in it,
and what workers have finished waits in ``.unfinished``; so the same command goes on, and ends with the same bytes.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from kptalk.engine import map_rows
from kptalk.errors import DatasetError, KptalkError, OutputError
from kptalk.files import make_folder, open_partial, remove_partial
from kptalk.train.dataset import INDEX
from kptalk.train.prepare.options import PrepareOptions
from kptalk.train.prepare.report import write_report
from kptalk.train.prepare.sources import Source, find_sources
from kptalk.train.prepare.work import Prepared, Preparer, model_of, read_record, staging_folder
from kptalk.train.shards import SHARD_BYTES, ShardWriter, shard_heads, write_index

STAGING = ".unfinished"


@dataclass(frozen=True)
class Progress:
    """One source is done: how many of how many are; its clips, 25ths of a second looked at, and what was left out."""

    done: int
    total: int
    video: Path
    clips: int
    frames: int
    left_out: list[tuple[str, str]]


def prepare_videos(
    videos: Sequence[Path],
    folder: Path,
    people: Path | None = None,
    annotations: Path | None = None,
    options: PrepareOptions | None = None,
    *,
    engine: str = "local",
    jobs: int | None = None,
    address: str | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Iterator[Progress]:
    """Make a dataset of videos, several at a time; what is there already is kept.

    Args:
        videos, people, annotations: see ``find_sources``.
        folder: created where absent; of a Ray cluster, one that all nodes share.
        options: what is wanted of a clip.
        engine, jobs, address: see ``kptalk.engine.map_rows``.
        shard_bytes: of a shard, at most.

    Yields:
        each source in order, once it is done.

    Raises:
        DatasetError: there are no videos, a list cannot be read, or the folder was made with other options.
        OptionError, MissingExtra: as ``map_rows``.
        WeightsError: the model of the motion is not here.
        OutputError: the folder cannot be written, or another run is writing it.
    """
    options = options or PrepareOptions()
    sources, left_out = find_sources(videos, people, annotations)
    model_of(options)  # before any work
    make_folder(folder)
    lock = open_partial(folder / INDEX)
    for stray in folder.glob(".saving-*"):  # of a run that was killed
        shutil.rmtree(stray, ignore_errors=True)
    try:
        total = len(sources) + len(left_out)
        for done, (video, reason) in enumerate(left_out, 1):
            yield Progress(done, total, video, 0, 0, [(video.name, reason)])
        shards = _Shards(folder, options, shard_bytes)
        waiting = [source for source in sources if source.name not in shards.finished]
        for done, source in enumerate([s for s in sources if s.name in shards.finished], len(left_out) + 1):
            yield Progress(done, total, source.video, *shards.finished[source.name])
        build = partial(Preparer, shards.staging, options)
        work = map_rows(build, waiting, engine=engine, jobs=jobs, address=address, ordered=True)
        for done, outcome in enumerate(work, total - len(waiting) + 1):
            prepared = outcome.result
            if prepared is None:
                if not isinstance(outcome.error, KptalkError) or isinstance(outcome.error, OutputError):
                    raise outcome.error or RuntimeError
                prepared = Prepared(0, 0, [{"name": outcome.row.name, "reason": str(outcome.error), "thumbnail": ""}])
            shards.take(outcome.row, prepared)
            reasons = [(each["name"], each["reason"]) for each in prepared.left_out]
            yield Progress(done, total, outcome.row.video, prepared.clips, prepared.frames, reasons)
        shards.writer.flush()
        write_index(folder, asdict(options))
        write_report(folder)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
    finally:
        remove_partial(lock)


class _Shards:
    """The shards of a folder: what is in them, and what is added.

    Attributes:
        finished: clips, frames and what was left out, by the names of the sources that are done.
        staging: folder of the workers' results.
        writer: of the shards that follow.
    """

    def __init__(self, folder: Path, options: PrepareOptions, limit: int) -> None:
        self.finished: dict[str, tuple[int, int, list[tuple[str, str]]]] = {}
        self.staging = folder / STAGING
        self._begun: dict[str, int] = {}  # clips of sources that continue in the next shard
        number, made_with = 0, asdict(options)
        for head in shard_heads(folder):
            number += 1
            if (there := head["options"]) != made_with:
                changed = ", ".join(key for key in made_with if there.get(key) != made_with[key])
                raise DatasetError(f"{folder} was made with another {changed}: give the same, or another folder")
            for row in head["clips"]:
                self._begun[row["source"]] = self._begun.get(row["source"], 0) + 1
            for note in head["notes"]:
                reasons = [(each["name"], each["reason"]) for each in note["left_out"]]
                self.finished[note["source"]] = note["clips"], note["frames"], reasons
        self.writer = ShardWriter(folder, limit, number, {"options": made_with})
        self._written: list[Path] = []
        key = sha256(json.dumps(made_with).encode()).hexdigest()[:16]
        for other in self.staging.glob("*"):  # of other options
            if other.name != key:
                shutil.rmtree(other, ignore_errors=True)
        self.staging = self.staging / key
        make_folder(self.staging)

    def take(self, source: Source, prepared: Prepared) -> None:
        """Put a source's clips into shards, but those that are in one already."""
        folder = staging_folder(self.staging, source.name)
        for number in range(self._begun.get(source.name, 0), prepared.clips):
            record = read_record(folder / f"{number}.safetensors")
            record.row["source"] = source.name
            if self.writer.add(record):
                self._clear()
        note: dict[str, Any] = {"source": source.name, "video": str(source.video)}
        self.writer.note(note | {"clips": prepared.clips, "frames": prepared.frames, "left_out": prepared.left_out})
        self._written.append(folder)

    def _clear(self) -> None:
        """Remove the results that are in shards now."""
        for folder in self._written:
            shutil.rmtree(folder, ignore_errors=True)
        self._written = []
