"""Shards of real clips, and a reason for every clip left out."""

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_shared import CLIPS
from safetensors.numpy import save_file

from kptalk.errors import DatasetError
from kptalk.media.clip import read_frames
from kptalk.train.data import Shard, load_shards, save_shard
from kptalk.train.prepare import SHORTEST, prepare_videos, track


def write(path, frames, sound):
    """A video of (H, W, 3) frames at 25 fps with (N,) float32 sound at 16 kHz, or none."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else container.add_stream("aac", rate=16_000, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            block = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
            block.sample_rate, block.pts, block.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux([*audio.encode(block), *audio.encode(None)])
    return path


@pytest.fixture(scope="session")
def clips():
    return [CLIPS / f"{name}.mp4" for name in ("grid_flbbc_1", "grid_mlbax_1")]


@pytest.fixture(scope="module")
def talking(clips):
    return list(read_frames(clips[0], Fraction(25), end=2))


@pytest.fixture
def noise():
    return 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)


@pytest.mark.slow
def test_clips_become_shards_and_bad_ones_are_named(clips, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    people = tmp_path / "people.csv"
    people.write_text("file,identity\nsome/folder/grid_flbbc_1.mp4,Alexandria\n")
    told = dict(prepare_videos([*clips, bad], tmp_path / "shards", people))
    assert [told[clip] for clip in clips] == [None, None]
    assert "bad.mp4" in told[bad]
    shards = load_shards(tmp_path / "shards")
    assert [shard.identity for shard in shards] == ["Alexandria", "grid_mlbax_1"]
    for shard in shards:
        assert shard.landmarks.shape[1:] == (478, 3)
        assert shard.landmarks.dtype == shard.sound.dtype == np.float32
        assert len(shard.sound) / 16_000 == pytest.approx(len(shard.landmarks) / 25, abs=0.2)
        assert 0.01 < np.abs(shard.sound).max() <= 1


@pytest.mark.slow
def test_shards_are_kept(clips, tmp_path, monkeypatch):
    shutil.copy(clips[1], tmp_path / "clip.mp4")
    assert [reason for _, reason in prepare_videos([tmp_path], tmp_path / "shards")] == [None]
    before = (tmp_path / "shards" / "clip.safetensors").stat().st_mtime_ns
    monkeypatch.setattr("kptalk.train.prepare.track", lambda file: pytest.fail("tracked again"))
    assert [reason for _, reason in prepare_videos([tmp_path], tmp_path / "shards")] == [None]
    assert (tmp_path / "shards" / "clip.safetensors").stat().st_mtime_ns == before


def test_an_interrupted_write_leaves_no_shard(tmp_path, monkeypatch):
    shard = Shard(np.zeros((50, 478, 3), np.float32), np.zeros(100, np.float32), "a")

    def half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        save_shard(shard, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_videos_of_one_name_are_not_mistaken_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "kptalk.train.prepare.track",
        lambda file: (np.zeros((50, 478, 3), np.float32), np.zeros(100, np.float32), 0),
    )
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.mp4").write_bytes(b"")
    reasons = [reason for _, reason in prepare_videos([tmp_path / "a", tmp_path / "b"], tmp_path / "shards")]
    assert reasons[0] is None
    assert "named 1" in reasons[1]


REASONS = {
    "short": (lambda frames: frames[: SHORTEST - 1], f"only {SHORTEST - 1} frames"),
    "faceless": (lambda frames: frames[:20] + [np.zeros_like(frames[0])] * 30, "face found in only 20 of 50 frames"),
    "tiny": (lambda frames: [np.ascontiguousarray(f[::3, ::3][:84, :84]) for f in frames], "pixels wide"),
    "jump": (
        lambda frames: (
            [np.pad(f, ((0, 0), (0, 300), (0, 0))) for f in frames[:25]]
            + [np.pad(f, ((0, 0), (300, 0), (0, 0))) for f in frames[:25]]
        ),
        "jumps",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", REASONS)
def test_pictures_that_cannot_be_used(kind, talking, noise, tmp_path):
    change, reason = REASONS[kind]
    with pytest.raises(DatasetError, match=reason):
        track(write(tmp_path / "clip.mp4", change(talking), noise))


@pytest.mark.parametrize(("share", "level", "reason"), [(0.3, 1, "s of sound for"), (1, 0, "silent")])
def test_sound_that_cannot_be_used(share, level, reason, talking, noise, tmp_path):
    with pytest.raises(DatasetError, match=reason):
        track(write(tmp_path / "clip.mp4", talking, level * noise[: int(share * len(noise))]))


def test_video_without_sound_is_named(talking, tmp_path):
    video = write(tmp_path / "mute.mp4", talking, None)
    ((_, reason),) = prepare_videos([video], tmp_path / "shards")
    assert "mute.mp4" in reason


def test_a_face_that_comes_late_stays_in_step_with_its_sound(talking, tmp_path):
    sound = np.zeros(44_000, np.float32)
    sound[9_600:9_700] = 0.9  # a click in the fifteenth frame
    late = [np.zeros_like(talking[0])] * 2 + talking + talking[::-1][:18]
    landmarks, heard, first = track(write(tmp_path / "late.mp4", late, sound))
    missing = len(late) - len(landmarks)
    assert first == missing >= 2
    assert np.abs(heard).argmax() == pytest.approx(9_650 - 640 * missing, abs=1200)


def test_no_videos(tmp_path):
    with pytest.raises(DatasetError, match="no videos"):
        list(prepare_videos([tmp_path], tmp_path / "shards"))


def test_folder_without_shards(tmp_path):
    with pytest.raises(DatasetError, match="kptalk prepare"):
        load_shards(tmp_path)


def test_shards_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match=r"a\.safetensors"):
        load_shards(tmp_path)
    save_file({"landmarks": np.zeros((5, 468, 3)), "sound": np.zeros(9)}, path, metadata={"identity": "a"})
    with pytest.raises(DatasetError, match="468"):
        load_shards(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("file,name\na.mp4,b\n", "no column 'identity'"), (b"\xff\xfe", "utf-8")],
)
def test_a_table_of_people_that_cannot_be_read_is_named_plainly(tmp_path, content, message):
    people = tmp_path / "people.csv"
    if content is not None:
        people.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=r"people\.csv") as caught:
        next(prepare_videos([tmp_path], tmp_path / "shards", people))
    assert message in str(caught.value)
    assert "file and identity" in str(caught.value)
    assert "Errno" not in str(caught.value)
