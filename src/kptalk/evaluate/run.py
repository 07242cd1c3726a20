"""Folders of videos → an Evaluation: every judge looks at every clip, at real video first."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path

from kptalk.errors import DatasetError, InputError
from kptalk.evaluate.metric import FPS, RATE, Column, Heard, Judge, Sight
from kptalk.evaluate.result import REAL, Clip, ClipResult, Evaluation, MethodResult
from kptalk.evaluate.sampling import listen, watch
from kptalk.evaluate.speed import COLUMNS as SPEED
from kptalk.evaluate.speed import Timing, read_timings, stage_columns
from kptalk.evaluate.tracks import TrackMeter
from kptalk.files import sha256
from kptalk.media.clip import probe

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
LIBRARIES = (
    *("kptalk", "numpy", "scipy", "torch", "av", "mediapipe", "opencv-contrib-python-headless"),
    *("opencv-contrib-python", "scikit-image", "librosa", "onnxruntime"),
)
MUTE = Fraction(1, 10)  # seconds of pictures after the sound's end that are worth a note
Progress = Callable[[str, int, int | None], None]  # method, clips done, clips in all
Finished = Callable[[str, ClipResult], None]  # method, what came out


@dataclass(frozen=True)
class Method:
    """A folder of generated videos, named as the real ones; ``failures`` says why some could not be made."""

    name: str
    folder: Path
    failures: Mapping[str, str] = field(default_factory=dict)


def find_clips(folder: Path) -> list[Path]:
    """The videos directly in a folder, by name; hidden files are none.

    Raises:
        DatasetError: the folder is absent or holds no video.
    """
    if not folder.is_dir():
        raise DatasetError(f"folder {folder} does not exist")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not clips:
        raise DatasetError(f"folder {folder} holds no video ({', '.join(SUFFIXES)})")
    return clips


def check_clips(clips: Sequence[Path], listed: Sequence[Clip]) -> list[Path]:
    """The clips that a frozen list names, in its order.

    Raises:
        DatasetError: one of them is absent, or is another file than the list was made with.
    """
    by_name = {path.name: path for path in clips}
    for clip in listed:
        if clip.name not in by_name:
            raise DatasetError(f"the clip list names {clip.name}, which is not there")
        if sha256(by_name[clip.name], DatasetError) != clip.sha256:
            raise DatasetError(f"{by_name[clip.name]} is not the file of the clip list: its sha256 differs")
    return [by_name[clip.name] for clip in listed]


def require_speech(clips: Sequence[Path]) -> None:
    """See that the real videos have pictures and sound, before anything that takes long.

    Raises:
        DatasetError: one of them cannot be read, or has no sound.
    """
    for clip in clips:
        try:
            has_audio = probe(clip).has_audio
        except InputError as error:
            raise DatasetError(f"real video {clip} cannot be used: {error}") from error
        if not has_audio:
            raise DatasetError(f"real video {clip} has no sound: the real videos must have the speech")


def evaluate(
    clips: Sequence[Path],
    methods: Sequence[Method],
    judges: Sequence[Judge],
    *,
    seconds: float | None = None,
    unavailable: Mapping[Column, str] | None = None,
    command: str = "",
    seed: int | None = None,
    progress: Progress | None = None,
    finished: Finished | None = None,
) -> Evaluation:
    """Judge real videos, then each method's videos of the same name.

    A generated video that is absent or cannot be read is named in the result and does not stop the others. One that is
    shorter than the real one is compared as far as it goes, and one without sound is judged with the real sound.

    Args:
        clips: the real videos.
        methods: where the generated ones are.
        judges: the metrics.
        seconds: only so much of every video's beginning is compared; None for all.
        unavailable: columns that cannot be measured, with the line that says why.
        command, seed: for the record.
        progress: told after every clip.
        finished: given every clip's result at once, so that nothing is lost when a long run is cut short.

    Raises:
        DatasetError: a real video cannot be used, or two methods have one name.
    """
    names = [REAL, *(method.name for method in methods)]
    if len(set(names)) < len(names):
        raise DatasetError(f"methods are named {', '.join(names)}: every name may be there once, and 'real' is taken")
    require_speech(clips)
    timings = {method.name: read_timings(method.folder) for method in methods}
    rows: list[MethodResult] = []
    for method in [None, *methods]:
        name = method.name if method else REAL
        judged: list[ClipResult] = []
        missing: dict[str, str] = {}
        for number, real in enumerate(clips):
            generated = method.folder / real.name if method else real
            try:
                if method and real.name in method.failures:
                    raise InputError(method.failures[real.name])
                result = _judge(generated, real, judges, seconds, timings.get(name, {}).get(real.name))
            except InputError as error:
                if not method:
                    raise DatasetError(f"real video {real} cannot be used: {error}") from error
                missing[real.name] = str(error)
            else:
                judged.append(result)
                if finished:
                    finished(name, result)
            if progress:
                progress(f"judging {name}", number + 1, len(clips))
        summary = {key: value for judge in judges for key, value in judge.summary().items()}
        rows.append(MethodResult(name, tuple(judged), summary, missing))
    known = [timing for table in timings.values() for timing in table.values()]
    columns = [column for judge in judges for column in judge.columns] + list(unavailable or {})
    if known:
        columns += [*SPEED, *stage_columns(known)]
    return Evaluation(
        columns=tuple(columns),
        clips=tuple(Clip(result.clip, result.sha256, result.frames) for result in rows[0].clips),
        methods=tuple(rows),
        unavailable={column.key: reason for column, reason in (unavailable or {}).items()},
        command=command,
        seed=seed,
        versions=_versions(),
        weights={name: digest for judge in judges for name, digest in judge.weights().items()},
    )


def _judge(
    generated: Path, real: Path, judges: Sequence[Judge], seconds: float | None, timing: Timing | None
) -> ClipResult:
    """Show one pair of videos to all judges; the real video is its own pair."""
    if not generated.is_file():
        raise InputError(f"{generated} does not exist")
    about, truth = probe(generated), probe(real)
    notes = []
    if about.size != truth.size:
        notes.append("{}x{} pixels where the real video has {}x{}".format(*about.size, *truth.size))
    meters = [judge.start() for judge in judges]
    tracks = TrackMeter()
    frames = faceless = 0
    pairs: Iterable[tuple[Sight | None, Sight | None]] = (
        ((sight, sight) for sight in watch(real, seconds))
        if generated == real
        else zip_longest(watch(generated, seconds), watch(real, seconds))
    )
    for sight, truly in pairs:
        if sight is None or truly is None:
            longer = "shorter" if sight is None else "longer"
            notes.append(f"{longer} than the real video: the first {frames} frames were compared")
            break
        for meter in meters:
            meter.add(sight, truly)
        tracks.add(sight)
        frames += 1
        faceless += sight.mesh is None
    ours, theirs = listen(generated, frames), listen(real, frames)
    if theirs is None:
        raise InputError(f"no sample of the sound of {real} can be decoded")
    if ours is None:
        notes.append("no sound: judged with the real video's")
    elif frames / FPS - Fraction(len(ours), RATE) > MUTE:
        notes.append("the sound ends more than 0.1 s before the pictures")
    heard = Heard(theirs if ours is None else ours, theirs)
    values = {key: float(value) for meter in meters for key, value in meter.result(heard).items()}
    if timing:
        values |= timing.values()
    return ClipResult(real.name, sha256(generated, InputError), values, frames, faceless, tuple(notes), tracks.result())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
