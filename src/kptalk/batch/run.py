"""The whole of ``kptalk batch``: rows to workers, their videos into the folder, and what became of them.

It may be killed at any moment, and the same call goes on. A video is delivered under the digest of what it is made of,
then its result is written, then it gets its name; so one that is complete is never made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from secrets import token_hex

from kptalk.batch.jobs import Checker, Job, Row, read_rows
from kptalk.batch.results import DONE, FAILED, Result
from kptalk.batch.storage import UNFINISHED, Folder, Remote, storage_of
from kptalk.batch.table import Table
from kptalk.batch.worker import Made, Maker, Task, contents_of, delivered_names, digest_of
from kptalk.cluster import Cluster
from kptalk.engine import Outcome, check_engine, map_rows
from kptalk.errors import InputError, KptalkError, OutputError, WorkerDied
from kptalk.files import VIDEO_SUFFIX, explain, sha256
from kptalk.provenance.signing import Signer
from kptalk.weights.model import open_model

TRIES = 4  # workers that may die at a row: most are killed for other reasons than the row


@dataclass(frozen=True)
class Progress:
    """One row is done: how many of how many are.

    Attributes:
        done, total: rows.
        result: what became of this one.
        known: whether an earlier run has found that out.
    """

    done: int
    total: int
    result: Result
    known: bool


def run_batch(
    jobs: str | os.PathLike[str] | Iterable[Row],
    folder: str | os.PathLike[str],
    defaults: Row | None = None,
    *,
    retry: bool = False,
    device: str = "auto",
    tts_key: str | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus: float | None = None,
    signer: Signer | None = None,
) -> Iterator[Progress]:
    """Make a video of every row; work is done while the progress is read.

    What was made before of the same inputs, options and model is kept. ``results.csv`` in the folder says what became
    of every row. A row that cannot be done does not stop the others.

    Args:
        jobs: a table, CSV, JSONL or Parquet, or mappings: ``portrait``, one of ``speech``, ``text`` and ``text_file``,
            and where wanted ``output``, ``face``, ``model``, ``save_motion`` and any option by its name. Relative paths
            begin where the table lies.
        folder: where the videos go, or an fsspec URL such as ``s3://bucket/folder``.
        defaults: values of all rows that do not say otherwise.
        retry: whether rows are tried again that have failed before.
        device: as ``Pipeline.from_pretrained`` takes it.
        tts_key: of a server that says texts.
        engine, address: see ``kptalk.engine.map_rows``.
        workers: how many; None for one a core, or as many as the GPUs of the cluster let.
        gpus: of a Ray worker; None for one where the cluster has GPUs.
        signer: signs the content credentials of the videos, in this process, which alone has the key.

    Yields:
        every row once it is done, in no order.

    Raises:
        InputError: there are no rows, the table cannot be read, or two rows write the same file.
        OutputError: the folder cannot be written, or another run is at work in it.
        OptionError, MissingExtra, WorkerDied: as ``map_rows``.
        WeightsError: a model is not here.
        CredentialsError: the certificates are not such as C2PA allows.
    """
    storage = storage_of(folder, gathers=signer is not None)
    signed_by = None if signer is None else signer.name
    finished = False
    with closing(Table()) as table, table.kept():
        results = storage.open()
        try:
            for result in results.read():
                table.put(result)
            total, done = _fill(table, jobs, defaults or {}), 0
            for bad in table.bad():
                known = table.result(bad.key)
                if known is None or replace(known, row=bad.row) != bad:
                    results.add(bad)
                table.put(bad)
                done += 1
                yield Progress(done, total, bad, known is not None)
            models = {model: open_model(model).digest() for model in table.models()}
            check_engine(engine)
            with Cluster(address) if engine == "ray" else nullcontext() as machines:
                ships = machines is not None and _look_around(machines, table.first(), storage)
                if gpus is None:
                    gpus = float(machines is not None and machines.count("GPU") > 0 and device in ("auto", "cuda"))
                build = partial(Maker, storage, models, device, tts_key, signed_by)
                tasks = (_task(job, table, storage, retry, ships) for job in table.longest_first())
                work = map_rows(build, tasks, engine=engine, jobs=workers, gpus=gpus, tries=TRIES)
                for outcome in work:
                    made = _made(outcome, models, signed_by)
                    if signer is not None:
                        made = _signed(made, storage, signer)
                    if not made.known:
                        results.add(made.result)
                    for name, output, content in made.files:
                        storage.place(name, output, content)
                    table.put(made.result)
                    done += 1
                    yield Progress(done, total, made.result, made.known)
            results.replace(table.results())
            finished = True
        finally:
            storage.close(finished)


def _fill(table: Table, jobs: str | os.PathLike[str] | Iterable[Row], defaults: Row) -> int:
    """Check all rows and put them into the table; how many there are."""
    rows: Iterable[Row | InputError]
    if isinstance(jobs, str | os.PathLike):
        rows, checker = read_rows(Path(jobs)), Checker(Path(jobs).parent, defaults)
    else:
        rows, checker = jobs, Checker(Path(), defaults)
    for number, row in enumerate(rows, 1):
        try:
            if isinstance(row, InputError):
                raise row
            job = checker.check(number, row)
        except KptalkError as error:
            output = "" if isinstance(row, InputError) else row.get("output")
            table.add_bad(Result(number, output if isinstance(output, str) else "", FAILED, error=str(error)))
        else:
            table.add(job)
    if not table.rows:
        raise InputError("there is no job: give a table with a row a video, or files that fit the patterns")
    return table.rows


def _look_around(machines: Cluster, job: Job | None, storage: Folder | Remote) -> bool:
    """Find out what a cluster's machines see: whether inputs are to be sent; the storage knows whether outputs are."""
    token = storage.path / UNFINISHED / f"seen-{token_hex(8)}" if isinstance(storage, Folder) else None
    if token is not None:
        token.touch()
    found = machines.everywhere(partial(_sees, token, list(job.files.values()) if job else []))
    if isinstance(storage, Folder):
        storage.shared = all(folder for folder, _ in found)
    return not all(files for _, files in found)


def _sees(token: Path | None, files: list[str]) -> tuple[bool, bool]:
    return token is None or token.is_file(), all(Path(path).is_file() for path in files)


def _task(job: Job, table: Table, storage: Folder | Remote, retry: bool, ships: bool) -> Task:
    known = table.result(job.output)
    if known is not None and known.status == DONE and not _is_placed(known, job, storage):
        known = None
    contents = None
    if ships:
        with suppress(OSError):  # the worker finds it missing too, and says so
            contents = {path: Path(path).read_bytes() for path in job.files.values()}
    return Task(job, known, retry, contents)


def _is_placed(known: Result, job: Job, storage: Folder | Remote) -> bool:
    """Whether a video that has a result has its name, as far as it can be told from here."""
    waits = storage.delivered(delivered_names(job, known.digest)[0]) is not None
    return not waits and (storage.shared or storage.size(job.output) == known.bytes)


def _made(outcome: Outcome[Task, Made], models: dict[str, str], signed_by: str | None) -> Made:
    if outcome.result is not None:
        return outcome.result
    error, job, digest = outcome.error, outcome.row.job, ""
    if not isinstance(error, WorkerDied):
        raise error or RuntimeError
    with suppress(InputError):
        digest = digest_of(job, contents_of(job.files), models, signed_by)
    return Made(Result(job.number, job.output, FAILED, digest=digest, error=str(error)))


def _signed(made: Made, storage: Folder | Remote, signer: Signer) -> Made:
    """The same with a signed video; one that an earlier run has signed, and not named, gets a new signature."""
    result, files = made.result, list(made.files)
    for number, (name, output, content) in enumerate(files):
        if not name.endswith(VIDEO_SUFFIX):
            continue
        try:
            with storage.at_hand(name, content) as path:
                signer.sign(path, made.inputs)
                result = replace(result, bytes=path.stat().st_size, sha256=sha256(path, OutputError))
                files[number] = name, output, None if content is None else path.read_bytes()
        except OSError as error:
            raise OutputError(f"cannot sign {output}: {explain(error)}") from error
    return replace(made, result=result, files=tuple(files))
