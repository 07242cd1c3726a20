"""Videos of every kind become clips, or are left out with a reason."""

import numpy as np
import pytest
from videos import talking, write_video

from kptalk.errors import OptionError
from kptalk.face.detector import detect
from kptalk.face.landmarks import FaceMesh
from kptalk.train.dataset import TrackedClip
from kptalk.train.lag import load_judge, sound_lag
from kptalk.train.prepare import tracks
from kptalk.train.prepare.options import PrepareOptions
from kptalk.train.prepare.sources import Source
from kptalk.train.prepare.tracks import Follower
from kptalk.train.prepare.work import Preparer, read_record, staging_folder


@pytest.fixture(scope="module")
def person():
    """Somebody for 48 frames, in which no lag can be told."""
    return talking(seconds=1.92)


@pytest.fixture(scope="module")
def other():
    return talking("grid_mlbax_1", 1.92)


@pytest.fixture(scope="module")
def preparers():
    """Warm workers by options."""
    return {}


@pytest.fixture
def prepare(tmp_path, preparers):
    """Prepare a video; gives the clips' records, and the reasons."""

    def run(path, source=None, **options):
        options = PrepareOptions(**{"min_sync": -1.0, "model": "none", **options})
        worker = preparers.setdefault(options, Preparer(tmp_path, options))
        worker._folder = tmp_path
        source = source or Source(path.stem, path, "somebody")
        found = worker(source)
        folder = staging_folder(tmp_path, source.name)
        records = [read_record(folder / f"{number}.safetensors") for number in range(found.clips)]
        return records, [each["reason"] for each in found.left_out]

    return run


def frames_of(records):
    return [record.row["frames"] for record in records]


def test_a_video_becomes_a_clip_with_motion_and_quality(prepare, tmp_path):
    frames, sound = talking()
    (record,), reasons = prepare(write_video(tmp_path / "a.mp4", frames, sound), model="embedded", min_sync=0.25)
    assert reasons == []
    assert record.tensors["landmarks"].shape == (75, 478, 3)
    assert record.tensors["motion"].shape == (75, 7 + 63)
    assert record.row["space"] == "facemesh"
    assert record.row["name"] == "a.0.0"
    width, sharpness, yaw, level, lag, correlation = record.row["quality"]
    assert width == pytest.approx(np.median(np.ptp(record.tensors["landmarks"][..., 0], axis=1)), rel=1e-5)
    assert sharpness > 20
    assert yaw < 20
    assert -50 < level < -5
    assert abs(lag) <= 1
    assert correlation > 0.25
    assert bytes(record.tensors["thumbnail"][:2]) == b"\xff\xd8"


def test_scenes_are_cut_apart(person, other, prepare, tmp_path):
    sound = np.concatenate([person[1], other[1]])
    records, _ = prepare(write_video(tmp_path / "a.mp4", person[0] + other[0], sound))
    assert frames_of(records) == [48, 48]
    assert [record.row["name"] for record in records] == ["a.0.0", "a.1.0"]
    assert [record.row["first"] for record in records] == [0, 48]
    for record, (_, own) in zip(records, (person, other), strict=True):
        heard = record.tensors["sound"].astype(float)
        assert np.corrcoef(heard[: len(own)], own[: len(heard)])[0, 1] > 0.9


def test_several_people_are_followed_apart(person, other, prepare, tmp_path):
    """Their faces are where they are alone, the right one shifted by the width of the left picture."""
    height = min(person[0][0].shape[0], other[0][0].shape[0])
    both = [np.concatenate([a[:height], b[:height]], 1) for a, b in zip(person[0], other[0], strict=True)]
    records, _ = prepare(write_video(tmp_path / "a.mp4", both, person[1]))
    assert frames_of(records) == [48, 48]
    middles = sorted(float(np.median(record.tensors["landmarks"][..., 0])) for record in records)
    width = person[0][0].shape[1]
    assert middles[0] < width < middles[1]
    region = Source("b", tmp_path / "a.mp4", "right", region=(0.5, 0, 1, 1))
    (record,), _ = prepare(None, region)
    assert np.median(record.tensors["landmarks"][..., 0]) > width


class Blinking(FaceMesh):
    """Sees nothing in frames whose first pixel is marked."""

    def __call__(self, image):
        return None if (image[0, 0] == (255, 0, 255)).all() else super().__call__(image)


@pytest.mark.parametrize(("hidden", "expected"), [(3, [30]), (10, [10, 10])])
def test_a_face_that_is_hidden_for_a_moment_is_followed_on(hidden, expected, person, monkeypatch):
    monkeypatch.setattr(tracks, "FaceMesh", Blinking)
    monkeypatch.setattr(tracks, "detect", lambda image: [] if (image[0, 0] == (255, 0, 255)).all() else detect(image))
    frames = [frame.copy() for frame in person[0][:30]]
    for frame in frames[10 : 10 + hidden]:
        frame[0, 0] = 255, 0, 255
    found = list(Follower(None, 1000, 30).follow(frames))
    assert [len(track) for track in found] == expected
    assert [track.first for track in found] == [0, 20][: len(expected)]
    if hidden == 3:
        assert np.array_equal(found[0].landmarks[9], found[0].landmarks[12])
        assert not np.array_equal(found[0].landmarks[9], found[0].landmarks[13])


def test_long_scenes_are_cut_into_clips(person, prepare, tmp_path):
    frames, sound = person
    frames, sound = frames + frames[::-1] + frames[:10], np.concatenate([sound, sound, sound])
    path = write_video(tmp_path / "a.mp4", frames, sound)
    records, reasons = prepare(path, longest=2, max_lag=15)
    assert frames_of(records) == [50, 50]
    assert [record.row["first"] for record in records] == [0, 50]
    assert reasons == []
    assert len({record.row["name"] for record in records}) == 2


def test_parts_of_a_video_keep_their_place_in_it(person, prepare, tmp_path):
    frames, sound = person
    path = write_video(tmp_path / "a.mp4", frames + frames[::-1], np.concatenate([sound, sound[::-1]]))
    (record,), _ = prepare(path, Source("part", path, "somebody", 1.92, 4.0))
    assert record.row["first"] == 48
    assert record.row["frames"] == 48
    assert np.corrcoef(record.tensors["sound"].astype(float), sound[::-1])[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["uneven", "slow", "fast", "hdr", "turned"])
def test_videos_as_phones_make_them(kind, person, prepare, tmp_path):
    frames, sound = person
    options = {}
    if kind == "uneven":
        rng = np.random.default_rng(0)
        times = np.sort(rng.permutation(np.arange(96))[:48]) / 50  # half the frames of 50 fps
        frames, options = [frames[min(round(25 * time), 47)] for time in times], {"times": times}
    elif kind == "slow":
        frames, options = frames[::2], {"times": np.arange(24) / 12.5}
    elif kind == "fast":
        frames, options = [frame for frame in frames for _ in (0, 1)], {"times": np.arange(96) / 50}
    elif kind == "hdr":
        options = {"pix_fmt": "yuv420p10le", "hdr": True}
    else:
        frames, options = [np.rot90(frame) for frame in frames], {"rotation": 90}
    (record,), _ = prepare(write_video(tmp_path / "a.mp4", frames, sound, **options))
    assert abs(record.row["frames"] - 48) <= 1
    eyes, chin = record.tensors["landmarks"][0, [33, 152]]
    assert chin[1] > eyes[1] + 30  # upright


@pytest.mark.parametrize("late", [0.4, -0.2])
def test_sound_that_begins_at_another_time_stays_in_step(late, person, prepare, tmp_path):
    frames, sound = person
    click = np.zeros(len(sound) + 6400, np.float32)
    click[16_000:16_040] = 0.9
    path = tmp_path / "a.mkv"
    begin = 0.5  # of the pictures, so that sound can come before them
    times = begin + np.arange(len(frames)) / 25
    write_video(path, frames, click, times=times, sound_at=begin + late)
    (record,), _ = prepare(path)
    heard = np.abs(record.tensors["sound"].astype(float)).argmax()
    assert heard == pytest.approx(16_020 + late * 16_000, abs=1100)  # AAC smears and primes


@pytest.mark.parametrize("frames_late", [3, -2])
def test_sound_out_of_step_is_repaired_or_left_out(frames_late, prepare, tmp_path):
    frames, sound = talking("grid_msbia_1")
    (still,), _ = prepare(write_video(tmp_path / "still.mp4", frames, sound))
    shift = frames_late * 640
    moved = np.concatenate([np.zeros(shift, np.float32), sound])[: len(sound)] if shift > 0 else sound[-shift:]
    path = write_video(tmp_path / "a.mp4", frames, moved)
    (record,), _ = prepare(path)
    lag = record.row["quality"][4]
    assert lag - still.row["quality"][4] == pytest.approx(frames_late, abs=1)
    clip = TrackedClip(record.tensors["landmarks"], record.tensors["sound"].astype(np.float32) / 32767, "a")
    assert abs(sound_lag(clip, load_judge())) <= 1
    (tmp_path / "b.mp4").write_bytes(path.read_bytes())
    records, (reason,) = prepare(tmp_path / "b.mp4", max_lag=0)
    assert records == []
    assert f"{abs(lag):.0f} frames {'late' if lag > 0 else 'early'}" in reason


def test_another_persons_sound_is_left_out(prepare, tmp_path):
    frames, _ = talking("grid_mlbax_1")
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.uniform(0.01, 0.3, 30), 1600)[: 640 * len(frames)] * rng.standard_normal(640 * len(frames))
    records, (reason,) = prepare(write_video(tmp_path / "a.mp4", frames, noise), min_sync=0.3)
    assert records == []
    assert "lips do not follow the sound" in reason


REASONS = {
    "one frame": (lambda frames: frames[:1], 1.0, {}, "only 1 frames"),
    "short": (lambda frames: frames[:39], 1.0, {}, "only 39 frames at 25 fps, at least 40"),
    "faceless": (lambda frames: [np.zeros_like(frames[0])] * 48, 1.0, {}, "face found in none of 48 frames"),
    "far": (lambda frames: [np.ascontiguousarray(f[::3, ::3][:84, :84]) for f in frames], 1.0, {}, "pixels wide"),
    "small": (lambda frames: frames, 1.0, {"min_face": 200}, "pixels wide, at least 200"),
    "turned": (lambda frames: frames, 1.0, {"max_yaw": 1}, "turned by"),
    "blurred": (lambda frames: frames, 1.0, {"min_sharpness": 90_000}, "blurred"),
    "silent": (lambda frames: frames, 0.0, {}, "silent"),
    "mute": (lambda frames: frames, None, {}, "has no sound"),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_is_left_out_is_named(kind, person, prepare, tmp_path):
    change, level, options, reason = REASONS[kind]
    sound = None if level is None else level * person[1]
    records, reasons = prepare(write_video(tmp_path / "a.mp4", change(person[0]), sound), **options)
    assert records == []
    assert reason in " ".join(reasons)


def test_sound_that_ends_early_is_left_out(person, prepare, tmp_path):
    records, (reason,) = prepare(write_video(tmp_path / "a.mp4", person[0], person[1][:9600]))
    assert records == []
    assert "s of sound for 1.9 s of pictures" in reason


def test_damaged_files_are_named_or_end_early(person, prepare, tmp_path):
    whole = write_video(tmp_path / "whole.mkv", *person).read_bytes()
    rng = np.random.default_rng(1)
    for number in range(3):
        data = bytearray(whole)
        for at in rng.integers(len(data) // 3, len(data), 40):
            data[at] = int(rng.integers(256))
        path = tmp_path / f"{number}.mkv"
        path.write_bytes(bytes(data))
        records, reasons = prepare(path)
        assert records or reasons
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 20])
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("cut.mkv", "text.mp4", "absent.mp4"):
        records, reasons = prepare(tmp_path / name)
        assert records == []
        assert len(reasons) == 1


@pytest.mark.parametrize(
    "change", [{"min_face": 3}, {"max_yaw": 91}, {"min_sync": 1.5}, {"max_lag": 16}, {"longest": 1}]
)
def test_limits_without_sense(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        PrepareOptions(**change)
