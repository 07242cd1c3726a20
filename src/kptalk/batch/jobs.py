"""The rows of a batch: read from CSV, JSONL, Parquet or mappings, and checked before anything is loaded."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any

from kptalk.errors import AudioError, ImageError, InputError, KptalkError, MissingExtra, OptionError
from kptalk.files import MOTION_SUFFIX, VIDEO_SUFFIX, check_readable, explain
from kptalk.media.tts import read_text
from kptalk.options import Control, Options, parse_blinks
from kptalk.validation import shown

PATHS = ("portrait", "speech", "text_file", "pose", "style")  # relative ones lie beside the table
OUTPUTS = {"output": VIDEO_SUFFIX, "save_motion": MOTION_SUFFIX}
SPOKEN = {"speech", "text", "text_file"}  # of these a row has one
WORDS = ("text", "tts", "voice", "face", "model", "precision")
OPTIONS = tuple(each.name for kind in (Options, Control) for each in fields(kind) if each.name != "control")
COLUMNS = (*PATHS[:3], *OUTPUTS, *WORDS, *OPTIONS)
YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
LONGEST_NAME = 255  # bytes of a file's name
BYTES_PER_SECOND = {".wav": 64_000, ".flac": 40_000}  # of recordings, roughly
BYTES_PER_SECOND |= dict.fromkeys((".mp4", ".mov", ".mkv", ".webm", ".avi"), 300_000)
COMPRESSED = 16_000  # of all others
TEXT_SPEED = 15  # characters of a text in a second
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One row: a video to be made.

    Attributes:
        number: of the row, from 1.
        output: where the video goes, below the batch's folder.
        portrait, speech: files.
        text, tts, voice: what is said in the place of a recording, by whom.
        face: which of several faces, from 1; None for the largest.
        options: of the video, as ``Options.from_dict`` takes them.
        save_motion: where the motion goes, below the batch's folder.
        model, precision: as ``Pipeline.from_pretrained`` takes them.
    """

    number: int
    output: str
    portrait: str
    speech: str | None = None
    text: str | None = None
    tts: str | None = None
    voice: str | None = None
    face: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    save_motion: str | None = None
    model: str = "embedded"
    precision: str = "auto"

    @property
    def outputs(self) -> list[str]:
        """What is written: the video, then the motion where it is wanted."""
        return [self.output, *([self.save_motion] if self.save_motion else [])]

    @property
    def files(self) -> dict[str, str]:
        """The files that are read, by what they are."""
        control = Options.from_dict(self.options).control
        named = {
            "portrait": self.portrait,
            "speech": self.speech,
            "pose": control.pose_file,
            "style": control.style_file,
        }
        return {name: str(path) for name, path in named.items() if path is not None}

    def length(self) -> float:
        """Seconds that it takes to say, estimated by the size and kind of the recording."""
        if self.text is not None:
            return len(self.text) / TEXT_SPEED
        path = Path(self.speech or "")
        return path.stat().st_size / BYTES_PER_SECOND.get(path.suffix.lower(), COMPRESSED)

    def to_json(self) -> str:
        """As a line."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The inverse of ``to_json``."""
        return cls(**json.loads(text))


def cross(portraits: str, speeches: str | None = None) -> list[Row]:
    """Rows of every portrait with every speech, both given as glob patterns; without speeches, of portraits alone.

    Raises:
        InputError: a pattern fits no file.
    """
    faces = [{"portrait": path} for path in _fitting("portraits", portraits)]
    if speeches is None:
        return list(faces)
    spoken = _fitting("speeches", speeches)
    return [{**face, "speech": speech} for face in faces for speech in spoken]


def _fitting(name: str, pattern: str) -> list[str]:
    files = sorted(path for path in glob(pattern, recursive=True) if Path(path).is_file())
    if not files:
        raise OptionError(f"{name} is {pattern!r}: no file is named like that")
    return files


def read_rows(jobs: Path) -> Iterator[Row | InputError]:
    """The rows of a table, or what is wrong with them.

    Raises:
        InputError: the table cannot be read, is none, or has a column that no row may have.
        MissingExtra: it is Parquet, and pyarrow is not installed.
    """
    kinds = {".csv": _read_csv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    check_readable(jobs, "a table of jobs")
    if jobs.suffix.lower() not in kinds:
        raise InputError(f"{jobs}: give a table of jobs that ends in {', '.join(kinds)}")
    try:
        yield from kinds[jobs.suffix.lower()](jobs)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read jobs from {jobs}: {explain(error)}") from error


def _read_csv(path: Path) -> Iterator[Row | InputError]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, strict=True)
        _check_columns(rows.fieldnames or [], path)
        for row in rows:
            yield InputError("there are more cells than columns") if None in row else row


def _read_jsonl(path: Path) -> Iterator[Row | InputError]:
    with path.open(encoding="utf-8-sig") as file:
        for line in filter(str.strip, file):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield InputError(f"it is no JSON: {explain(error)}")
            else:
                yield row if isinstance(row, dict) else InputError(f"{shown(row)} is no JSON object")


def _read_parquet(path: Path) -> Iterator[Row | InputError]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtra("reading Parquet needs pyarrow: pip install 'kptalk[cluster]'") from error
    try:
        with ParquetFile(path) as file:
            _check_columns(file.schema_arrow.names, path)
            for batch in file.iter_batches(batch_size=1000):
                yield from batch.to_pylist()
    except ArrowException as error:
        raise InputError(f"cannot read jobs from {path}: {explain(error)}") from error


def _check_columns(names: Iterable[str], path: Path) -> None:
    if unknown := sorted(set(names) - set(COLUMNS)):
        raise InputError(f"{path} has unknown columns: {', '.join(unknown)}; columns are {', '.join(COLUMNS)}")


class Checker:
    """Makes jobs of rows."""

    def __init__(self, folder: Path, defaults: Row) -> None:
        """``folder`` is where relative paths begin; ``defaults`` are values of all rows that do not say otherwise."""
        self._folder = folder.absolute()
        self._defaults = self._resolved(_filled(defaults), Path().absolute())
        self._options = lru_cache(maxsize=1 << 10)(_options)
        self._problem = lru_cache(maxsize=1 << 16)(_problem)  # of a file
        self._voice_problem = lru_cache(maxsize=1 << 10)(_voice_problem)

    def check(self, number: int, row: Row) -> Job:
        """The job of a row.

        Raises:
            InputError: it cannot be done; the message says why.
        """
        own = self._resolved(_filled(row), self._folder)
        if unknown := sorted(set(own) - set(COLUMNS)):
            raise OptionError(f"unknown columns: {', '.join(map(str, unknown))}")
        for name, value in own.items():
            if not isinstance(value, Hashable):
                raise OptionError(f"{name} is {shown(value)}: give a word or a number")
        if "speech" in own and {"tts", "voice"} & set(own):
            raise OptionError("tts and voice belong to a text: speech is a recording")
        inherited = self._defaults.items()
        values = {name: value for name, value in inherited if not (name in SPOKEN and SPOKEN & set(own))} | own
        if "portrait" not in values or len(SPOKEN & set(values)) != 1:
            raise InputError("give a portrait, and one of speech, text and text_file")
        options, control_files = self._options(tuple((name, values[name]) for name in OPTIONS if name in values))
        portrait, speech = str(values["portrait"]), values.get("speech")
        self._check(self._problem, portrait, "an image", ImageError)
        for path in control_files:
            self._check(self._problem, path, "a video", InputError)
        voice: dict[str, Any] = {}
        if speech is not None:
            self._check(self._problem, str(speech), "a recording", AudioError)
        else:
            text = read_text(values["text_file"]) if "text_file" in values else str(values["text"])
            voice = {"text": text, "tts": values.get("tts"), "voice": values.get("voice")}
            self._check(self._voice_problem, voice["tts"], voice["voice"])
        name = f"{Path(portrait).stem}-{number if speech is None else Path(speech).stem}{VIDEO_SUFFIX}"
        return Job(
            number=number,
            output=_output("output", values.get("output", name)),
            portrait=portrait,
            speech=None if speech is None else str(speech),
            face=_face(values.get("face")),
            options=options,
            save_motion=_output("save_motion", values["save_motion"]) if "save_motion" in values else None,
            model=str(values.get("model", "embedded")),
            precision=str(values.get("precision", "auto")),
            **voice,
        )

    @staticmethod
    def _resolved(values: dict[str, Any], folder: Path) -> dict[str, Any]:
        """The same with absolute paths; a word in the place of a pose or style stays."""
        named = {name: values[name] for name in PATHS if isinstance(values.get(name), str)}
        paths = {name: path for name, path in named.items() if name not in OPTIONS or Path(path).suffix}
        return values | {name: str(folder / path) for name, path in paths.items()}

    @staticmethod
    def _check(problem: Callable[..., KptalkError | None], *about: Any) -> None:
        if (found := problem(*about)) is not None:
            raise type(found)(str(found), option=found.option)


def _filled(row: Row) -> dict[str, Any]:
    """The cells that hold something: no text without letters, no number that is none, as tables have for nothing."""
    values = {name: str(value) if isinstance(value, Path) else value for name, value in row.items()}
    return {name: value for name, value in values.items() if value is not None and value != "" and value == value}


def _options(values: tuple[tuple[str, Any], ...]) -> tuple[dict[str, Any], list[str]]:
    """Options as a job has them, and the files that they name."""
    options = Options.from_dict({name: _option(name, value) for name, value in values})
    files = (options.control.pose_file, options.control.style_file)
    return options.to_dict(), [str(path) for path in files if path is not None]


def _option(name: str, value: Any) -> Any:
    if name == "blinks" and isinstance(value, str):
        return parse_blinks(value)
    kind = next(str(each.type) for each in (*fields(Options), *fields(Control)) if each.name == name)
    return YES_NO.get(value.lower(), value) if kind.startswith("bool") and isinstance(value, str) else value


def _face(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"face is {shown(value)}: give a whole number, 1 is the leftmost") from None


def _output(name: str, value: Any) -> str:
    """A file's name below the folder, in one way of writing it."""
    path = PurePosixPath(str(value).replace("\\", "/"))
    hidden = any(part.startswith(".") for part in path.parts)
    if path.is_absolute() or ":" in str(value) or hidden or path.suffix.lower() != OUTPUTS[name]:
        raise OptionError(f"{name} is {shown(value)}: give a name below the folder, ending in {OUTPUTS[name]}")
    if any(len(part.encode(errors="surrogateescape")) > LONGEST_NAME for part in path.parts):
        raise OptionError(f"{name} is {shown(value)}: a name has at most {LONGEST_NAME} bytes")
    return str(path)


def _problem(path: str, kind: str, error: type[KptalkError]) -> KptalkError | None:
    """What is wrong with a file, if anything."""
    try:
        check_readable(Path(path), kind, error)
    except KptalkError as found:
        return found
    return None


def _voice_problem(tts: str | None, voice: str | None) -> KptalkError | None:
    from kptalk.media import tts as engines

    try:
        engines.check_engine(engines.installed_engine() if tts is None else tts, voice)
    except KptalkError as found:
        return found
    return None
