"""All rows and results of a batch in a database of its own, so that memory does not grow with their number."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple

from kptalk.batch.jobs import Job
from kptalk.batch.results import Result
from kptalk.errors import OutputError

SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE job (number INTEGER PRIMARY KEY, key TEXT, length REAL, content TEXT);
CREATE TABLE output (name TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
CREATE TABLE result (key TEXT PRIMARY KEY, row INTEGER, output TEXT, status TEXT, seconds REAL, frames INTEGER,
                     bytes INTEGER, sha256 TEXT, digest TEXT, error TEXT, warning TEXT) WITHOUT ROWID;
"""
RESULT = "row, output, status, seconds, frames, bytes, sha256, digest, error, warning"


class Table:
    """The rows of a batch, and the last result of each; gone with the object.

    Attributes:
        rows: how many there are.
    """

    def __init__(self) -> None:
        self._base = sqlite3.connect("")  # a file that has no name, so that it is gone however the process ends
        with ExitStack() as unless_ready, self.kept():
            unless_ready.callback(self.close)
            self._base.executescript(SCHEMA)
            unless_ready.pop_all()
        self.rows = 0

    def add(self, job: Job) -> None:
        """Add a row; raises OutputError where another one writes the same file."""
        for name in job.outputs:
            self._claim(name, job.number)
        values = job.number, job.output, job.length(), job.to_json()
        self._base.execute("INSERT INTO job VALUES (?, ?, ?, ?)", values)
        self.rows += 1

    def add_bad(self, result: Result) -> None:
        """Add a row that cannot be done; raises OutputError as ``add``."""
        if result.output:
            self._claim(result.output, result.row)
        values = result.row, result.key, json.dumps(asdict(result))
        self._base.execute("INSERT INTO job VALUES (?, ?, -1, ?)", values)
        self.rows += 1

    def _claim(self, name: str, row: int) -> None:
        try:
            self._base.execute("INSERT INTO output VALUES (?, ?)", (name, row))
        except sqlite3.IntegrityError:
            (other,) = self._base.execute("SELECT number FROM output WHERE name = ?", (name,)).fetchone()
            raise OutputError(
                f"rows {other} and {row} both write {name}: give them names in the column output"
            ) from None

    def bad(self) -> Iterator[Result]:
        """The rows that cannot be done."""
        found = self._base.cursor().execute("SELECT content FROM job WHERE length < 0 ORDER BY number")
        return (Result(**json.loads(content)) for (content,) in found)

    def put(self, result: Result) -> None:
        """Keep a result, in the place of the last one of its row."""
        values = result.key, *astuple(result)
        self._base.execute(f"INSERT OR REPLACE INTO result VALUES ({', '.join('?' * len(values))})", values)

    def result(self, key: str) -> Result | None:
        """The last result of a row."""
        found = self._base.execute(f"SELECT {RESULT} FROM result WHERE key = ?", (key,)).fetchone()
        return None if found is None else Result(*found)

    def models(self) -> list[str]:
        """The models that the rows name."""
        models = "SELECT DISTINCT json_extract(content, '$.model') FROM job WHERE length >= 0"
        return [name for (name,) in self._base.execute(models)]

    def first(self) -> Job | None:
        """A row that can be done, if any can."""
        found = self._base.execute("SELECT content FROM job WHERE length >= 0 LIMIT 1").fetchone()
        return None if found is None else Job.from_json(*found)

    def longest_first(self) -> Iterator[Job]:
        """The rows that can be done, one by one."""
        self._base.execute("CREATE INDEX by_length ON job (length DESC, number)")
        found = self._base.cursor().execute("SELECT content FROM job WHERE length >= 0 ORDER BY length DESC, number")
        return (Job.from_json(content) for (content,) in found)

    def results(self) -> Iterator[Result]:
        """The last results: those of other batches in the folder, then those of the rows in their order."""
        columns = ", ".join(f"result.{name}" for name in RESULT.split(", "))
        rows = f"SELECT {columns} FROM result LEFT JOIN job ON job.key = result.key "
        others = "WHERE job.number IS NULL AND result.output != '' ORDER BY result.row, result.key"
        self._base.execute("CREATE INDEX by_key ON job (key)")
        yield from (Result(*found) for found in self._base.execute(rows + others))
        own = f"SELECT {columns} FROM job JOIN result ON result.key = job.key ORDER BY job.number"
        for found in self._base.execute(own):
            yield Result(*found)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Meanwhile what SQLite says of the disk becomes an OutputError."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(f"cannot keep the rows among the temporary files: {error}") from error

    def close(self) -> None:
        """Remove the database."""
        self._base.close()
