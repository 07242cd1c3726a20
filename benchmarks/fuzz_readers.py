"""What kptalk does with a file of each kind, as far as damage can matter to it: what ``fuzz.py`` calls."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

Read = Callable[[Path], object]


def _photo(path: Path) -> None:
    from kptalk.media.image import read_image

    read_image(path)
    read_image(path.read_bytes())


def _sound(path: Path) -> None:
    from kptalk.media.audio import Speech

    for source in (path, path.read_bytes()):
        speech = Speech.open(source)
        for blocks in (speech.chunks(), speech.sound(1 << 14)):
            with closing(blocks):
                for _ in islice(blocks, 100):
                    pass


def _copied(path: Path) -> None:
    """As the sound of a video: packets are copied, or encoded anew."""
    from kptalk.media.audio import Speech
    from kptalk.media.encoder import VideoWriter
    from kptalk.media.stream import StreamSink

    with VideoWriter(StreamSink(io.BytesIO()), Fraction(25), (64, 64), Speech.open(path)) as writer:
        for _ in range(5):
            writer.write(np.zeros((1, 64, 64, 3), np.uint8))


def _video(path: Path) -> None:
    from kptalk.media.clip import probe, read_frames
    from kptalk.media.watermark_reader import _means

    probe(path)
    with closing(read_frames(path, Fraction(25))) as frames:
        for _ in islice(frames, 100):
            pass
    for _ in _means(path):  # what comes after is arithmetic, and slow
        pass


def _verify(path: Path) -> None:
    from kptalk.provenance.verify import verify

    verify(path)


def _load_motion(path: Path) -> None:
    from kptalk.types import Motion

    Motion.load(path)


def _model(path: Path) -> None:
    from kptalk.pipeline import Pipeline
    from kptalk.weights.header import embedded_path

    name, _, content = path.read_bytes().partition(b"\0")
    good = embedded_path("motion").parent
    with tempfile.TemporaryDirectory() as temporary:
        for each in good.iterdir():
            if each.is_file() and each.name.encode() != name:
                (Path(temporary) / each.name).symlink_to(each)
        (Path(temporary) / Path(name.decode("ascii", "replace")).name).write_bytes(content)
        Pipeline.from_pretrained(temporary, "cpu")


def _job(path: Path) -> None:
    from kptalk.errors import OptionError
    from kptalk.options import Options, ReenactOptions

    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # who reads the JSON says so; here it is the fuzzer
        raise OptionError(str(error)) from error
    if not isinstance(values, dict):
        raise OptionError("no object")
    refused = []
    for kind in (Options, ReenactOptions):  # a job is of one of them
        try:
            kind.from_dict(values)
        except OptionError as error:
            refused.append(error)
    if len(refused) == 2:
        raise refused[0]


def _rows(path: Path) -> None:
    """A table of ``kptalk batch``, whose rows are refused one by one: one good row makes it good."""
    from kptalk.batch.jobs import Checker, read_rows
    from kptalk.errors import InputError, KptalkError

    head = path.read_bytes()[:4]
    path = path.rename(path.with_suffix(".parquet" if head == b"PAR1" else ".jsonl" if head[:1] == b"{" else ".csv"))
    for name in ("face.jpg", "speech.wav"):
        (path.parent / name).write_bytes(b"looked at later")
    checker, good = Checker(path.parent, {}), 0
    problem: KptalkError = InputError("no rows")
    for number, row in enumerate(read_rows(path), 1):
        try:
            if isinstance(row, InputError):
                raise row
            checker.check(number, row).to_json()
            good += 1
        except KptalkError as error:
            problem = error
    if not good:
        raise problem


def _table(path: Path) -> None:
    from kptalk.train.prepare.sources import find_sources

    find_sources([path.rename(path.with_suffix(".csv"))])


def _clip_list(path: Path) -> None:
    from kptalk.evaluate.clips import read_clip_list

    read_clip_list(path)


READERS: dict[str, tuple[Read, ...]] = {
    **dict.fromkeys(("jpg", "png", "webp", "gif", "tiff", "heic"), (_photo,)),
    **dict.fromkeys(("wav", "mp3", "m4a", "flac", "ogg"), (_sound, _copied)),
    **dict.fromkeys(("webm", "mp4", "mkv"), (_video, _sound, _copied)),
    "signed": (_verify,),
    "motion": (_load_motion,),
    "model": (_model,),
    "job": (_job,),
    "table": (_table,),
    "rows": (_rows,),
    "list": (_clip_list,),
}
