"""What a worker of a batch does: one row after the other, with models that are loaded once."""

from __future__ import annotations

import errno
import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kptalk.batch.jobs import Job
from kptalk.batch.results import DONE, FAILED, Result
from kptalk.batch.storage import Storage
from kptalk.device import use_one_thread
from kptalk.errors import InputError, MissingExtra, OutputError, WeightsError
from kptalk.files import explain, sha256
from kptalk.options import Options
from kptalk.scratch import scratch_folder

if TYPE_CHECKING:
    from kptalk.face.portraits import Portraits
    from kptalk.job import Animation
    from kptalk.media.audio import Speech
    from kptalk.pipeline import Pipeline

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # wherever it was written to: no other row could be made either
NAMED = ("portrait", "speech")  # of a row's files, those that content credentials name
NO_FAULT_OF_THE_ROW = (WeightsError, MissingExtra, OutputError)


@dataclass(frozen=True)
class Task:
    """A row for a worker.

    Attributes:
        job: the row.
        known: its last result.
        retry: whether it is tried again where it has failed.
        contents: the files that it reads, by their paths, where the worker does not see them.
    """

    job: Job
    known: Result | None = None
    retry: bool = False
    contents: Mapping[str, bytes] | None = None


@dataclass(frozen=True)
class Made:
    """What a worker answers.

    Attributes:
        result: of the row.
        known: whether an earlier run has found it out.
        files: what is to be put in place: the names under which files were delivered, their outputs, and their content
            where the worker had to send it.
        inputs: SHA-256 of the files that the video is made from, by what they are.
    """

    result: Result
    known: bool = False
    files: tuple[tuple[str, str, bytes | None], ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


class Maker:
    """A warm worker."""

    def __init__(
        self,
        storage: Storage,
        models: Mapping[str, str],
        device: str = "auto",
        tts_key: str | None = None,
        signer: str | None = None,
    ) -> None:
        """``models`` are the digests of the models; they are loaded when the first row needs them.

        ``signer`` is the name of who signs the videos afterwards, in another process: the key does not come here.
        """
        self._storage, self._models, self._device, self._tts_key = storage, models, device, tts_key
        self._signer = signer
        self._pipelines: dict[tuple[str, str], Pipeline] = {}
        self._portraits: Portraits | None = None

    def __call__(self, task: Task) -> Made:
        """Make a row's video, unless that is done; a row that cannot be made is a result, not an exception.

        Raises:
            WeightsError, MissingExtra, OutputError: no row can be made here.
        """
        began, job, digest, said = time.perf_counter(), task.job, "", list[str]()
        contents: dict[str, str] = {}
        try:
            with _inputs(task) as paths, _heard(said):
                contents = contents_of(paths)
                digest = digest_of(job, contents, self._models, self._signer)
                made = self._known(task, digest)
                if made is not None:
                    return made
                names = delivered_names(job, digest)
                made = self._delivered(job, names) or self._make(job, paths, names)
        except NO_FAULT_OF_THE_ROW:
            raise
        except InputError as error:
            made = Made(Result(job.number, job.output, FAILED, error=str(error)))
        except Exception as error:  # of a library, for a damaged file or for want of memory
            if isinstance(error, OSError) and error.errno in FULL:
                raise OutputError(f"cannot write {job.output}: {explain(error)}") from error
            made = Made(Result(job.number, job.output, FAILED, error=f"{type(error).__name__}: {error}"))
        seconds = time.perf_counter() - began
        result = replace(made.result, seconds=seconds, digest=digest, warning="; ".join(said))
        return replace(made, result=result, inputs={name: contents[name] for name in NAMED if name in contents})

    def _known(self, task: Task, digest: str) -> Made | None:
        """What an earlier run has found out, where the row is as it was then."""
        known = task.known
        if known is None or known.digest != digest:
            return None
        if (known.status == FAILED and task.retry) or (known.status == DONE and not self._is_there(known)):
            return None
        return Made(replace(known, row=task.job.number), known=True)

    def _is_there(self, known: Result) -> bool:
        """Whether an output is; of a folder that only the other side sees, that side has looked."""
        return not self._storage.shared or self._storage.size(known.output) == known.bytes

    def _delivered(self, job: Job, names: tuple[str, ...]) -> Made | None:
        """What an earlier run has made and could not put in place."""
        paths = [self._storage.delivered(name) for name in names]
        if any(path is None for path in paths) or (video := paths[0]) is None:
            return None
        from kptalk.media.clip import probe

        about = probe(video)
        result = _done(job, video, round((about.duration or 0) * about.fps))
        return Made(result, files=tuple((name, output, None) for name, output in zip(names, job.outputs, strict=True)))

    def _make(self, job: Job, paths: Mapping[str, str], names: tuple[str, ...]) -> Made:
        from kptalk.media.sink import FileSink
        from kptalk.types import Motion

        animation = self._animation(job, paths)
        kept: list[Motion] | None = [] if job.save_motion else None
        with self._storage.workshop() as folder:
            made = [folder / name for name in names]
            frames = 0
            with _of_output(job.output):
                with closing(animation.encode(FileSink(made[0]), kept=kept)) as steps:
                    for frames in steps:  # noqa: B007  # the last one counts
                        pass
                if kept is not None:
                    Motion.concatenate(kept).save(made[1])
            result = _done(job, made[0], frames)
            files = []
            for path, name, output in reversed(list(zip(made, names, job.outputs, strict=True))):  # the video last
                files.append((name, output, self._storage.deliver(path, name, output)))
        return Made(result, files=tuple(files))

    def _animation(self, job: Job, paths: Mapping[str, str]) -> Animation:
        from kptalk.face.portraits import Portraits

        pipeline = self._pipeline(job.model, job.precision)
        self._portraits = self._portraits or Portraits()
        files = {name: paths[name] for name in ("pose", "style") if name in paths}
        options = Options.from_dict(job.options | files)
        photo = Path(paths["portrait"])
        portrait = self._portraits.find(photo, sha256(photo, InputError), job.face, options.rotate)
        return pipeline.animate(portrait, self._speech(job, paths), options=options)

    def _speech(self, job: Job, paths: Mapping[str, str]) -> Speech:
        from kptalk.media import tts
        from kptalk.media.audio import Speech

        if job.text is None:
            return Speech.open(paths["speech"])
        return tts.speak(job.text, job.tts, job.voice, key=self._tts_key)

    def _pipeline(self, model: str, precision: str) -> Pipeline:
        if (model, precision) not in self._pipelines:
            from kptalk.pipeline import Pipeline

            loaded = Pipeline.from_pretrained(model, self._device, precision)  # type: ignore[arg-type]  # it checks
            self._pipelines[model, precision] = loaded
            use_one_thread()
        return self._pipelines[model, precision]


def _done(job: Job, video: Path, frames: int) -> Result:
    size = video.stat().st_size
    return Result(job.number, job.output, DONE, frames=frames, bytes=size, sha256=sha256(video, OutputError))


@contextmanager
def _of_output(name: str) -> Iterator[None]:
    """An OutputError names the output, not the file of the workshop, which nobody will find."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"cannot write {name}: {explain(error.__cause__ or error)}") from error


@contextmanager
def _heard(said: list[str]) -> Iterator[None]:
    """Collects warnings of ours, and silences those of libraries."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=r"kptalk\.")
        yield
    said += dict.fromkeys(str(each.message) for each in caught)


@contextmanager
def _inputs(task: Task) -> Iterator[dict[str, str]]:
    """The files that a row reads, by what they are; those that were sent are written down meanwhile."""
    files = task.job.files
    if task.contents is None:
        yield files
        return
    with scratch_folder() as folder:
        paths = {}
        for what, path in files.items():
            paths[what] = str(folder / f"{what}{Path(path).suffix}")
            Path(paths[what]).write_bytes(task.contents[path])
        yield paths


def contents_of(paths: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the files that a row reads, by what they are.

    Raises:
        InputError: a file cannot be read.
    """
    return {what: sha256(path, InputError) for what, path in paths.items()}


def digest_of(job: Job, contents: Mapping[str, str], models: Mapping[str, str], signer: str | None) -> str:
    """SHA-256 of all that decides what a video is: the content of its inputs, the options, the model, who signs."""
    options = {name: value for name, value in job.options.items() if name not in contents}
    said = [job.text, job.tts, job.voice]
    facts = [models[job.model], job.precision, contents, said, job.face, options, job.save_motion is not None]
    facts += [] if signer is None else [signer]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def delivered_names(job: Job, digest: str) -> tuple[str, ...]:
    """Under which names a row's outputs are delivered: each row's are its own, whatever it is made of."""
    return tuple(
        hashlib.sha256(f"{digest} {output}".encode(errors="surrogateescape")).hexdigest() + Path(output).suffix.lower()
        for output in job.outputs
    )
