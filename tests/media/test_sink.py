"""One output, one run: who writes a file, what a killed run leaves, what is done where nothing can be locked."""

import ctypes
import subprocess
import sys
import textwrap
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rows import freed_in_pieces, resident

from kptalk.errors import OutputError
from kptalk.files import check_writable, kept_partial, partial_path
from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink, copy_plain

RUN = """
    import sys, time
    from fractions import Fraction
    import numpy as np
    from kptalk.errors import OutputError
    from kptalk.media.encoder import VideoWriter
    from kptalk.media.sink import FileSink
    path, shade, gap = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(gap)
    try:
        with VideoWriter(FileSink(path, overwrite=True), Fraction(25), (64, 48)) as writer:
            for _ in range(40):
                writer.write(np.full((1, 48, 64, 3), shade, np.uint8))
                time.sleep(0.01)
    except OutputError as error:
        sys.exit(str(error))
"""


def launch(path: Path, shade: int, gap: float = 0) -> subprocess.Popen[str]:
    """A run that waits for ``go``; one frame in 10 ms, all of one ``shade``."""
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(path), str(shade), str(gap)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def go(*runs: subprocess.Popen[str]) -> None:
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()


def shades(path: Path) -> list[int]:
    return [round(float(frame.mean()) / 100) * 100 for frame in read_frames(path)]


@pytest.mark.slow
def test_two_runs_with_one_output(tmp_path):
    """Whatever the gap: a run that ends well leaves all of its frames, the other one says why it stopped."""
    path, refused = tmp_path / "talk.mp4", 0
    for gap in (0, 0.2, 0.45):
        runs = [launch(path, 100, 0), launch(path, 200, gap)]
        go(*runs)
        messages = [run.communicate()[1] for run in runs]
        codes = [run.returncode for run in runs]
        assert 0 in codes, messages
        assert shades(path) in ([100] * 40, [200] * 40)
        for code, message in zip(codes, messages, strict=True):
            assert (
                code == 0
                or message.strip() == f"another run is writing {path}: wait until it is done, or give another name"
            )
            refused += code != 0
        assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]
    assert refused > 0


def test_a_killed_run_locks_nobody_out(tmp_path):
    path = tmp_path / "talk.mp4"
    run = launch(path, 100)
    go(run)
    while not (partial_path(path).exists() and partial_path(path).stat().st_size):
        time.sleep(0.005)
    with pytest.raises(OutputError, match="another run is writing"):
        check_writable(path, ".mp4")
    run.kill()
    run.communicate()
    assert partial_path(path).exists()
    check_writable(path, ".mp4")
    write(path, 5)
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]


def write(path: Path, count: int) -> None:
    with VideoWriter(FileSink(path), Fraction(25), (64, 48)) as writer:
        writer.write(np.full((count, 48, 64, 3), 100, np.uint8))


def test_the_second_of_one_process_is_refused_too(tmp_path):
    path = tmp_path / "talk.mp4"
    other = VideoWriter(FileSink(path), Fraction(25), (64, 48))
    with VideoWriter(FileSink(path), Fraction(25), (64, 48)) as writer:
        writer.write(np.zeros((2, 48, 64, 3), np.uint8))
        with pytest.raises(OutputError, match="another run is writing"):
            other.write(np.zeros((1, 48, 64, 3), np.uint8))
        writer.write(np.zeros((2, 48, 64, 3), np.uint8))
    assert len(list(read_frames(path))) == 4


def test_without_locks_every_run_has_a_partial_file_of_its_own(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("kptalk.files._try_lock", no_locks)
    path = tmp_path / "talk.mp4"
    sinks = [FileSink(path, overwrite=True), FileSink(path, overwrite=True)]
    with VideoWriter(sinks[0], Fraction(25), (64, 48)) as one, VideoWriter(sinks[1], Fraction(25), (64, 48)) as two:
        for _ in range(3):
            one.write(np.full((1, 48, 64, 3), 100, np.uint8))
            two.write(np.full((1, 48, 64, 3), 200, np.uint8))
        assert sinks[0].partial != sinks[1].partial
        assert {file.name for file in tmp_path.iterdir()} == {sinks[0].partial.name, sinks[1].partial.name}
    assert shades(path) == [100] * 3  # it was left last
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_what_drawing_has_freed_is_given_back_before_the_copy(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("kptalk.media.sink.copy_plain", lambda *given: seen.append(resident()) or copy_plain(*given))
    with VideoWriter(FileSink(tmp_path / "talk.mp4"), Fraction(25), (64, 48)) as writer:
        writer.write(np.full((5, 48, 64, 3), 100, np.uint8))
        small = freed_in_pieces(100)
        before = resident()
    assert seen[0] < before - 50, len(small)


def test_frames_that_are_missing_are_noticed(tmp_path):
    path = tmp_path / "talk.mp4"
    writer = VideoWriter(FileSink(path), Fraction(25), (64, 48))
    writer.write(np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8))
    with partial_path(path).open("rb+") as file:
        file.truncate(file.seek(0, 2) // 2)
    with pytest.raises(OutputError, match="partial"):
        writer.__exit__(None, None, None)
    assert not path.exists()


def test_a_partial_file_that_was_removed_meanwhile_does_no_harm(tmp_path):
    path = tmp_path / "talk.mp4"
    with VideoWriter(FileSink(path), Fraction(25), (64, 48)) as writer:
        writer.write(np.zeros((3, 48, 64, 3), np.uint8))
        partial_path(path).unlink()
        partial_path(path).write_bytes(b"another run's")
    assert len(list(read_frames(path))) == 3
    assert partial_path(path).read_bytes() == b"another run's"


def test_after_an_error_the_partial_file_is_found_by_its_output(tmp_path):
    path = tmp_path / "talk.mp4"
    partial_path(path).write_bytes(b"a killed run's")
    writer = VideoWriter(FileSink(path), Fraction(25), (64, 48))
    assert kept_partial(path) is None  # that file is not this process's
    writer.write(np.zeros((3, 48, 64, 3), np.uint8))
    writer.__exit__(KeyboardInterrupt, None, None)
    assert kept_partial(path) == partial_path(path)
    assert len(list(read_frames(partial_path(path)))) == 3
    write(path, 2)
    assert kept_partial(path) is None
