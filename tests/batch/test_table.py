import sys
from contextlib import suppress
from pathlib import Path

import pytest

from kptalk.batch.jobs import Job
from kptalk.batch.table import Table

ROWS = 30_000  # more than SQLite keeps in memory


def open_files() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(link.readlink()))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists open files")
def test_rows_lie_in_a_file_that_nobody_has_to_remove():
    before, table = open_files(), Table()
    for k in range(1, ROWS + 1):
        table.add(Job(k, f"{k}.mp4", "p" * 100, options={"seed": k}))
    (rows,) = open_files() - before
    assert rows.endswith(" (deleted)")  # so it is gone however the process ends
    assert table.first() == Job(1, "1.mp4", "p" * 100, options={"seed": 1})
    table.close()
    assert open_files() <= before
