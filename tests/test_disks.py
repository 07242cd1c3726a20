"""Disks that are full, fail or cannot do all: one line that says so, and nothing lost that was there."""

import errno
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from batches import inputs, listed, made, no_models
from commands import refused
from fakes import facemesh_space, fake_pipeline, plain_portrait, random_motion
from recordings import tone

from kptalk.batch import storage, table, worker
from kptalk.batch.results import ResultFile
from kptalk.errors import OutputError
from kptalk.files import claimed, partial_path, write_bytes
from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink
from kptalk.train.checkpoint import TrainingLog, save_state
from kptalk.types import Motion

FAULTS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE]
FULL = Path("/dev/full")  # takes nothing
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def failing(number, only=None):
    """A function of the system that fails, for paths with ``only`` in them."""

    def fail(path="", *_, **__):
        if only is None or only in str(path):
            raise OSError(number, os.strerror(number))
        return original(path, *_, **__)

    original = Path.replace
    return fail


def written(folder):
    """The files of a folder and what they hold."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_whatever_fails_the_old_file_stays(tmp_path, monkeypatch, call, number):
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(call, failing(number))
    with pytest.raises(OutputError, match=rf"cannot write .*file: {os.strerror(number)}"):
        write_bytes(tmp_path / "file", b"new")
    assert written(tmp_path) == {"file": b"old"}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_wait_for_the_disk_is_written_to(tmp_path, monkeypatch, number):
    monkeypatch.setattr("os.fsync", failing(number))
    monkeypatch.setattr("pathlib.Path.chmod", failing(errno.EPERM))  # nor has modes
    write_bytes(tmp_path / "file", b"new")
    assert written(tmp_path) == {"file": b"new"}


def without_replacing(monkeypatch, number, broken=False):
    """A file system that renames no file over another; a broken one takes only back what it gave."""
    replace, rename = Path.replace, Path.rename

    def refuse(self, target):
        if Path(target).exists():
            raise OSError(number, os.strerror(number))
        return replace(self, target)

    def move(self, target):
        if Path(target).exists() or (broken and self.parent.name.startswith(".saving-")):
            raise OSError(number, os.strerror(number))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(Path, "rename", move)


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EPERM, errno.ENOTSUP, errno.EINVAL])
def test_without_renaming_over_a_file_it_is_replaced_all_the_same(tmp_path, monkeypatch, number):
    without_replacing(monkeypatch, number)
    for content in (b"one", b"two", b"three"):
        write_bytes(tmp_path / "file.bin", content)
        assert written(tmp_path) == {"file.bin": content}
    (tmp_path / ".file.old.bin").write_bytes(b"of a run that was killed")
    write_bytes(tmp_path / "file.bin", b"four")
    assert written(tmp_path) == {"file.bin": b"four"}


def test_a_file_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")
    without_replacing(monkeypatch, errno.EPERM, broken=True)
    with pytest.raises(OutputError, match="not permitted"):
        write_bytes(tmp_path / "file", b"new")
    assert written(tmp_path) == {"file": b"old"}


def test_another_run_may_not_write_what_is_claimed(tmp_path):
    path = tmp_path / "motion.safetensors"
    with claimed(path):
        with pytest.raises(OutputError, match="another run is writing"), claimed(path):
            pass
        write_bytes(path, b"new")
    assert written(tmp_path) == {"motion.safetensors": b"new"}
    with pytest.raises(OutputError, match="cannot write"), claimed(tmp_path / "absent" / "a"):
        pass


def frames(count):
    return np.random.default_rng(0).integers(0, 256, (count, 48, 64, 3), np.uint8)


@pytest.mark.parametrize("number", FAULTS)
def test_a_video_that_the_disk_does_not_take_is_kept_so_far(tmp_path, monkeypatch, number):
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"old")
    writer = VideoWriter(FileSink(path, overwrite=True), Fraction(25), (64, 48))
    writer.write(frames(60))
    monkeypatch.setattr("os.fsync", failing(number))
    reason = rf"cannot write .*talk.mp4: {os.strerror(number)}; partial video kept in {partial_path(path)}"
    with pytest.raises(OutputError, match=reason):
        writer.__exit__(None, None, None)
    assert path.read_bytes() == b"old"
    assert set(written(tmp_path)) == {"talk.mp4", partial_path(path).name}
    assert len(list(read_frames(partial_path(path)))) == 60


@pytest.fixture
def small_files():
    """No file may be larger than 60 kB."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_video_that_fills_its_disk_plays_as_far_as_it_goes(tmp_path, small_files):
    path = tmp_path / "talk.mp4"
    kept = f"cannot write {path}: File too large; partial video kept in {partial_path(path)}"
    writer = VideoWriter(FileSink(path), Fraction(25), (64, 48))
    with pytest.raises(OutputError, match=kept) as caught:
        writer.write(frames(500))
    writer.__exit__(OutputError, caught.value, None)
    assert set(written(tmp_path)) == {partial_path(path).name}
    assert len(list(read_frames(partial_path(path)))) >= 20


def test_a_motion_that_is_saved_beside_is_one_run_s(tmp_path):
    pipeline = fake_pipeline(facemesh_space())
    portrait, beside = plain_portrait(facemesh_space()), tmp_path / "motion.safetensors"
    animation = pipeline.animate(portrait, (tone(16_000, 0.4)[0], 16_000))
    with claimed(beside), pytest.raises(OutputError, match=r"another run is writing .*motion"):
        animation.save(tmp_path / "a.mp4", save_motion=beside)
    animation.save(tmp_path / "a.mp4", save_motion=beside)
    assert set(written(tmp_path)) == {"a.mp4", "motion.safetensors"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def rows(source):
    return [{"portrait": source / "anna.png", "speech": source / f"{name}.wav"} for name in ("short", "long")]


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("place", ["workshop", "encoder", "deliver"])
def test_a_batch_on_a_bad_disk_ends_and_goes_on_later(source, rows, tmp_path, monkeypatch, place, number):
    """No row is failed by it; the message names the video, not the file it would have been."""
    no_models(monkeypatch)
    with monkeypatch.context() as patch:
        if place == "workshop":
            patch.setattr(storage, "TemporaryDirectory", failing(number))
        elif place == "encoder":
            patch.setattr("os.fsync", failing(number))
        else:
            patch.setattr(storage, "put_in_place", failing(number))
        with pytest.raises(OutputError, match=os.strerror(number)) as caught:
            made(rows, tmp_path / "out")
    assert "making-" not in str(caught.value)
    assert listed(tmp_path / "out") == []
    found, _ = made(rows, tmp_path / "out")
    assert {result.status for result in found.values()} == {"done"}
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_a_batch_whose_temporary_files_have_no_room_ends(source, rows, tmp_path, monkeypatch):
    no_models(monkeypatch)
    monkeypatch.setattr(worker.Maker, "_make", lambda *_: failing(errno.ENOSPC)(""))
    with pytest.raises(OutputError, match=r"cannot write anna-.*\.mp4: No space left"):
        made(rows, tmp_path / "out")


@needs_full
def test_results_on_a_full_disk(tmp_path):
    (tmp_path / "results.csv").symlink_to(FULL)
    with pytest.raises(OutputError, match=r"cannot write .*results.csv: No space left"):
        ResultFile(tmp_path / "results.csv")


@pytest.mark.parametrize("first", [True, False])
def test_rows_on_a_full_disk(rows, tmp_path, monkeypatch, first):
    no_models(monkeypatch)
    full = "PRAGMA max_page_count = 1;"  # or as many as there are
    monkeypatch.setattr(table, "SCHEMA", full + table.SCHEMA if first else table.SCHEMA + full)
    with pytest.raises(OutputError, match=r"cannot keep the rows among the temporary files: .*full"):
        made([rows[0] | {"output": f"{k}{'x' * 200}.mp4"} for k in range(60)], tmp_path / "out")


@needs_full
def test_a_training_on_a_full_disk(tmp_path):
    log = TrainingLog(tmp_path, 0)
    (tmp_path / "log.csv").symlink_to(FULL)
    with pytest.raises(OutputError, match=r"cannot write .*log.csv: No space left"):
        log.write({"step": 1.0})
    log.close()


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    save_state(tmp_path / "state.pt", {"step": 1})
    before = written(tmp_path)
    monkeypatch.setattr("torch.save", failing(errno.EDQUOT))
    with pytest.raises(OutputError, match=r"cannot write .*state.pt: .*uota"):
        save_state(tmp_path / "state.pt", {"step": 2})
    assert written(tmp_path) == before


def test_a_log_that_is_cut_to_the_checkpoint_is_never_lost(tmp_path, monkeypatch):
    log = TrainingLog(tmp_path, 0)
    for step in (1.0, 2.0, 3.0):
        log.write({"step": step, "loss": 0.5})
    log.close()
    before = (tmp_path / "log.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", failing(errno.ENOSPC))
        with pytest.raises(OutputError, match="No space left"):
            TrainingLog(tmp_path, 2)
    assert (tmp_path / "log.csv").read_bytes() == before
    TrainingLog(tmp_path, 2).close()
    assert (tmp_path / "log.csv").read_text().splitlines() == ["step,loss", "1.0,0.5", "2.0,0.5"]


@pytest.mark.parametrize("number", FAULTS)
def test_what_nobody_has_foreseen_is_one_line_too(kptalk, tmp_path, monkeypatch, number):
    random_motion(3).save(tmp_path / "a.safetensors")

    def load(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Motion, "load", load)
    found = kptalk("motion", "show", tmp_path / "a.safetensors", "-o", tmp_path / "a.png")
    assert refused(found, f"{os.strerror(number)}: {tmp_path / 'a.safetensors'}", code=1)
