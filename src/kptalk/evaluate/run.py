"""Folders of videos → an Evaluation: every metric sees every clip, the real videos first."""

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from itertools import tee, zip_longest
from pathlib import Path

import cv2

from kptalk.ahead import read_ahead
from kptalk.errors import DatasetError, InputError, OutputError
from kptalk.evaluate.clips import VideoFolder, require_speech
from kptalk.evaluate.metric import FPS, RATE, AudioPair, Metric, MetricSpec
from kptalk.evaluate.report.files import finite
from kptalk.evaluate.result import REAL, Clip, ClipResult, Evaluation, MethodResult
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.evaluate.speed import COLUMNS as SPEED
from kptalk.evaluate.speed import Timing, read_timings, stage_columns
from kptalk.evaluate.tracks import TrackRecorder
from kptalk.files import sha256
from kptalk.job import Progress
from kptalk.media.clip import probe

LIBRARIES = ("kptalk", "numpy", "scipy", "torch", "av", "scikit-image", "librosa", "onnxruntime")
FRAMES_AHEAD = 8  # that may wait for the metrics
MUTE = Fraction(1, 10)  # seconds of pictures after the audio's end that are worth a note


def evaluate(
    clips: Sequence[Path],
    methods: Sequence[VideoFolder],
    metrics: Sequence[Metric],
    *,
    seconds: float | None = None,
    unavailable: Mapping[MetricSpec, str] | None = None,
    command: str = "",
    seed: int | None = None,
    on_progress: Progress | None = None,
    journal: Path | None = None,
) -> Evaluation:
    """Measure the real videos, then each method's videos of the same name.

    A generated video that is absent or cannot be read is named in the result and does not stop the others. One that is
    shorter than the real one is compared as far as it goes, and one without sound is measured with the real sound.

    Args:
        clips: the real videos.
        methods: where the generated ones are.
        metrics: what is measured.
        seconds: only so much of every video's beginning is compared; None for all.
        unavailable: columns that cannot be measured, with the line that says why.
        command, seed: for the record.
        on_progress: called after every clip.
        journal: a file to which every clip's numbers are added at once, as a line of JSON, so that nothing is lost when
            a long run is cut short.

    Raises:
        DatasetError: a real video cannot be used, or two methods have one name.
        OutputError: the journal cannot be written.
    """
    names = [REAL, *(method.name for method in methods)]
    if len(set(names)) < len(names):
        raise DatasetError(f"methods are named {', '.join(names)}: every name may be there once, and 'real' is taken")
    require_speech(clips)
    timings = {method.name: read_timings(method.folder) for method in methods}
    rows: list[MethodResult] = []
    for method in [None, *methods]:
        name = method.name if method else REAL
        results: list[ClipResult] = []
        missing: dict[str, str] = {}
        for number, real in enumerate(clips):
            generated = method.folder / real.name if method else real
            try:
                if method and real.name in method.failures:
                    raise InputError(method.failures[real.name])
                result = _measure(generated, real, metrics, seconds, timings.get(name, {}).get(real.name))
            except InputError as error:
                if not method:
                    raise DatasetError(f"real video {real} cannot be used: {error}") from error
                missing[real.name] = str(error)
            else:
                results.append(result)
                if journal:
                    _add_line(journal, {"method": name, "clip": result.clip, **result.values})
            if on_progress:
                on_progress(f"measuring {name}", number + 1, len(clips))
        overall = {key: value for metric in metrics for key, value in metric.compute_overall().items()}
        rows.append(MethodResult(name, tuple(results), overall, missing))
    known = [timing for table in timings.values() for timing in table.values()]
    columns = [column for metric in metrics for column in metric.columns] + list(unavailable or {})
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
        weights={name: digest for metric in metrics for name, digest in metric.weights.items()},
    )


def _measure(
    generated: Path, real: Path, metrics: Sequence[Metric], seconds: float | None, timing: Timing | None
) -> ClipResult:
    """Show one pair of videos to all metrics; the real video is its own pair."""
    if not generated.is_file():
        raise InputError(f"{generated} does not exist")
    about, truth = probe(generated), probe(real)
    notes = []
    if about.size != truth.size:
        notes.append("{}x{} pixels where the real video has {}x{}".format(*about.size, *truth.size))
    for metric in metrics:
        metric.reset()
    tracks = TrackRecorder()
    frames = faceless = 0
    with ExitStack() as reading:  # finding landmarks takes as long as the metrics do
        truly, shown = tee(reading.enter_context(closing(read_ahead(sample_frames(real, seconds), FRAMES_AHEAD))))
        if generated != real:
            shown = reading.enter_context(closing(read_ahead(sample_frames(generated, seconds), FRAMES_AHEAD)))
        for frame, real_frame in zip_longest(shown, truly):
            if frame is None or real_frame is None:
                longer = "shorter" if frame is None else "longer"
                notes.append(f"{longer} than the real video: the first {frames} frames were compared")
                break
            for metric in metrics:
                metric.update(frame, real_frame)
            tracks.update(frame)
            frames += 1
            faceless += frame.mesh is None
    own, real_audio = read_audio(generated, frames), read_audio(real, frames)
    if real_audio is None:
        raise InputError(f"no sample of the sound of {real} can be decoded")
    if own is None:
        notes.append("no sound: measured with the real video's")
    elif frames / FPS - Fraction(len(own), RATE) > MUTE:
        notes.append("the sound ends more than 0.1 s before the pictures")
    audio = AudioPair(real_audio if own is None else own, real_audio)
    values = {key: float(value) for metric in metrics for key, value in metric.compute(audio).items()}
    values |= timing.values() if timing else {}
    digest = sha256(generated, InputError)
    return ClipResult(real.name, digest, values, frames, faceless, tuple(notes), tracks.compute())


def _add_line(path: Path, row: Mapping[str, object]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(finite(row)) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform(), "opencv": cv2.__version__}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
