"""Folders of videos → an Evaluation: every metric sees every clip, the real videos first."""

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2

from kptalk.engine import check_engine, map_rows
from kptalk.errors import DatasetError, OptionError
from kptalk.evaluate.clips import VideoFolder, require_speech
from kptalk.evaluate.measure import Measured, Measurer, Pair
from kptalk.evaluate.metric import Metric, MetricSpec
from kptalk.evaluate.report.files import finite
from kptalk.evaluate.result import REAL, Clip, ClipResult, Evaluation, MethodResult
from kptalk.evaluate.speed import COLUMNS as SPEED
from kptalk.evaluate.speed import Timing, read_timings, stage_columns
from kptalk.files import writing
from kptalk.job import Progress

LIBRARIES = ("kptalk", "numpy", "scipy", "torch", "av", "scikit-image", "librosa", "onnxruntime")


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
    open_metrics: Callable[[], Sequence[Metric]] | None = None,
    engine: str = "local",
    jobs: int | None = 1,
    address: str | None = None,
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
        open_metrics: opens the same metrics in a worker; it must pickle. Needed but for one local job.
        engine, jobs, address: see ``kptalk.engine.map_rows``; one local job is this process.

    Raises:
        DatasetError: a real video cannot be used, or two methods have one name.
        OutputError: the journal cannot be written.
        OptionError, MissingExtra, WorkerDied: as ``map_rows``.
    """
    check_engine(engine)
    names = [REAL, *(method.name for method in methods)]
    if len(set(names)) < len(names):
        raise DatasetError(f"methods are named {', '.join(names)}: every name may be there once, and 'real' is taken")
    require_speech(clips)
    timings = {method.name: read_timings(method.folder) for method in methods}
    rows: list[MethodResult] = []
    pairs = [_pair(method, real, seconds, timings) for method in [None, *methods] for real in clips]
    one = engine == "local" and jobs == 1
    work: Iterator[Measured]
    if one:
        work = map(Measurer(lambda: metrics, apart=False), pairs)
    elif open_metrics is None:
        raise OptionError(f"jobs is {jobs}: workers need metrics that they can open")
    else:
        work = _elsewhere(partial(Measurer, open_metrics), pairs, engine, jobs, address)
    for method in [None, *methods]:
        name = method.name if method else REAL
        results: list[ClipResult] = []
        missing: dict[str, str] = {}
        for number, real in enumerate(clips):
            measured = next(work)
            if measured.result is None and not method:
                raise DatasetError(f"real video {real} cannot be used: {measured.error}")
            if measured.result is None:
                missing[real.name] = measured.error
            else:
                results.append(measured.result)
                for metric, part in zip(metrics, measured.parts, strict=not one):
                    metric.take(part)
                if journal:
                    _add_line(journal, {"method": name, "clip": real.name, **measured.result.values})
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


def _pair(
    method: VideoFolder | None, real: Path, seconds: float | None, timings: Mapping[str, Mapping[str, Timing]]
) -> Pair:
    if method is None:
        return Pair(real, real, seconds)
    timing, failure = timings[method.name].get(real.name), method.failures.get(real.name)
    return Pair(method.folder / real.name, real, seconds, timing, failure)


def _elsewhere(
    build: Callable[[], Measurer], pairs: Sequence[Pair], engine: str, jobs: int | None, address: str | None
) -> Iterator[Measured]:
    """Pairs measured by workers, in their order."""
    for outcome in map_rows(build, pairs, engine=engine, jobs=jobs, address=address, ordered=True):
        if outcome.result is None:
            raise outcome.error or RuntimeError
        yield outcome.result


def _add_line(path: Path, row: Mapping[str, object]) -> None:
    with writing(path), path.open("a") as file:
        file.write(json.dumps(finite(row)) + "\n")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform(), "opencv": cv2.__version__}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
