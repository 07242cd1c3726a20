"""Files that appear whole or not at all, and the checks before any work is done."""

import hashlib
import os

import pytest

from kptalk.errors import DatasetError, ImageError, OutputError, WeightsError
from kptalk.files import atomic_write, check_readable, check_writable, lock_file, partial_path, sha256, write_bytes


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_the_digest_is_sha256_of_the_whole_file(tmp_path):
    content = os.urandom((1 << 20) + 7)
    (tmp_path / "file").write_bytes(content)
    assert sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_digest_of_an_absent_file_raises_the_callers_error(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read .*absent: No such file"):
        sha256(tmp_path / "absent", DatasetError)


def test_a_file_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.name == path.name
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("bug")

    with pytest.raises(RuntimeError, match="bug"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_full_disk_raises_the_callers_error(tmp_path):
    with (
        pytest.raises(WeightsError, match=r"cannot write .*file: No space left"),
        atomic_write(tmp_path / "file", WeightsError),
    ):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_an_absent_folder_cannot_be_written_to(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*No such file"):
        write_bytes(tmp_path / "absent" / "file", b"")


def test_the_umask_says_the_mode_whoever_writes(tmp_path, umask):
    with atomic_write(tmp_path / "file") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file.avi", "give a name that ends in .mp4"),
        (".mp4", "give a name that ends in .mp4"),
        ("folder.mp4", "is a folder"),
        ("absent/file.mp4", "does not exist"),
        ("taken.mp4/file.mp4", "is not a folder"),
        ("taken.mp4", "exists already"),
        ("dangling.mp4", "exists already"),
        ("x" * 300 + ".mp4", "File name too long"),
        ("x" * 250 + ".mp4", "File name too long"),
        ("nul\0.mp4", "cannot write"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, name, words):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "taken.mp4").touch()
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match=words) as caught:
        check_writable(tmp_path / name, ".mp4")
    assert "\n" not in str(caught.value)


def test_a_read_only_place_is_refused():
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs /proc, where nobody can make files")
    with pytest.raises(OutputError, match="cannot write"):
        check_writable("/proc/self/a.mp4", ".mp4")


def test_overwriting_replaces_files_only(tmp_path):
    (tmp_path / "taken.MP4").touch()
    check_writable(tmp_path / "taken.MP4", ".mp4", overwrite=True)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(OutputError, match="not a regular file"):
        check_writable(tmp_path / "pipe.mp4", ".mp4", overwrite=True)


def test_a_check_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "file.mp4", ".mp4")
    assert os.listdir(tmp_path) == []
    assert partial_path(tmp_path / "file.mp4") == tmp_path / ".file.partial.mp4"


@pytest.mark.parametrize("start", [b"RIFF\x24\0\0\0WAVE", b"ID3\4", b"fLaC", b"OggS", b"\0\0\0\x1cftypM4A "])
def test_a_sound_for_a_picture_asks_whether_they_are_swapped(tmp_path, start):
    path = tmp_path / "face.jpg"
    path.write_bytes(start + bytes(40))
    with pytest.raises(ImageError, match="is a recording, not a picture: are portrait and speech swapped"):
        check_readable(path, "an image", ImageError)
    check_readable(path, "a recording")
    path.write_bytes(b"RIFF\x24\0\0\0WEBP")
    check_readable(path, "an image", ImageError)


def test_a_locked_file_is_one_process_s_until_it_is_closed(tmp_path):
    with lock_file(tmp_path / "a.lock"), pytest.raises(BlockingIOError):
        lock_file(tmp_path / "a.lock")
    lock_file(tmp_path / "a.lock").close()
