"""The evaluation itself: what is shown to the metrics, what is missing, what is odd; nothing stops the rest."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from counting import counting
from media_shared import CLIPS
from recordings import tone, write_clip

from kptalk.errors import DatasetError, OptionError
from kptalk.evaluate.clips import VideoFolder, find_clips, method_names, select_listed
from kptalk.evaluate.metric import Metric, MetricSpec
from kptalk.evaluate.result import REAL, Clip
from kptalk.evaluate.run import evaluate
from kptalk.evaluate.sampling import read_audio, sample_frames
from kptalk.evaluate.speed import Timing, write_timings
from kptalk.files import sha256

RATE = 16_000


class Brightness(Metric):
    """A metric whose numbers are known: mean brightness, distance from the real one, loudness, and clips in all."""

    columns = tuple(
        MetricSpec(key, key, "", "higher", "for tests") for key in ("bright", "distance", "loud", "loud_real", "clips")
    )

    def __init__(self):
        self.clips, self.weights = 0, {"eye": "abc"}

    def reset(self):
        self.pairs = []

    def update(self, generated, real):
        self.pairs.append((generated.image.mean(), real.image.mean()))

    def compute(self, audio):
        self.clips += 1
        assert len(audio.generated) == len(audio.real) == 640 * len(self.pairs)
        ours, theirs = np.array(self.pairs).T
        loud = [np.sqrt(np.mean(sound**2)) for sound in (audio.generated, audio.real)]
        return {"bright": ours.mean(), "distance": abs(ours - theirs).mean(), "loud": loud[0], "loud_real": loud[1]}

    def compute_overall(self):
        counted, self.clips = self.clips, 0
        return {"clips": float(counted)}


def film(path, level, frames=20, fps=25, side=64, sound=0.5):
    pictures = np.full((frames, side, side, 3), level, np.uint8)
    samples = None if sound is None else (2 * sound * tone(RATE, frames / fps)).astype(np.float32)
    return write_clip(path, pictures, Fraction(fps), samples, RATE)


@pytest.fixture
def folders(tmp_path):
    """Two real clips and a folder for generated ones."""
    real, ours = tmp_path / "videos", tmp_path / "ours"
    real.mkdir()
    ours.mkdir()
    film(real / "a.mp4", 100)
    film(real / "b.mp4", 60)
    return real, ours


def evaluated(folders, **options):
    real, ours = folders
    return evaluate(find_clips(real), [VideoFolder("ours", ours)], [Brightness()], **options)


def test_the_real_videos_come_first_and_are_their_own_pair(folders):
    film(folders[1] / "a.mp4", 110)
    film(folders[1] / "b.mp4", 90)
    result = evaluated(folders, command="kptalk evaluate", seed=3)
    real, ours = result.methods
    assert (real.name, ours.name) == (REAL, "ours")
    assert [clip.values["bright"] for clip in real.clips] == pytest.approx([100, 60], abs=2)
    assert [clip.values["distance"] for clip in real.clips] == [0, 0]
    assert [clip.values["distance"] for clip in ours.clips] == pytest.approx([10, 30], abs=2)
    assert real.overall == ours.overall == {"clips": 2}
    assert result.clips == (
        Clip("a.mp4", sha256(folders[0] / "a.mp4"), 20),
        Clip("b.mp4", sha256(folders[0] / "b.mp4"), 20),
    )
    assert (result.command, result.seed, result.weights) == ("kptalk evaluate", 3, {"eye": "abc"})
    assert {"python", "numpy", "kptalk", "opencv"} <= set(result.versions)


def test_frames_without_a_face_are_counted(folders):
    film(folders[1] / "a.mp4", 110)
    clip = evaluated(folders).methods[1].clips[0]
    assert (clip.faceless, clip.frames) == (20, 20)
    assert np.isnan(clip.tracks.opening).all()
    assert clip.tracks.rotation.shape == (20, 3)


def test_a_missing_or_broken_video_is_named_and_stops_nothing(folders):
    film(folders[1] / "a.mp4", 110)
    (folders[1] / "b.mp4").write_bytes(b"no video")
    ours = evaluated(folders).methods[1]
    assert [clip.clip for clip in ours.clips] == ["a.mp4"]
    assert list(ours.missing) == ["b.mp4"]
    assert "b.mp4" in ours.missing["b.mp4"]


def test_a_video_that_could_not_be_made_says_why(folders):
    film(folders[1] / "a.mp4", 110)
    film(folders[1] / "b.mp4", 110)  # of an earlier run
    method = VideoFolder("ours", folders[1], {"b.mp4": "no face"})
    result = evaluate(find_clips(folders[0]), [method], [Brightness()])
    assert result.methods[1].missing == {"b.mp4": "no face"}


def test_shorter_longer_smaller_and_silent_videos_are_noted(folders):
    film(folders[1] / "a.mp4", 110, frames=12, side=32, sound=None)
    film(folders[1] / "b.mp4", 90, frames=30)
    first, second = evaluated(folders).methods[1].clips
    assert (first.frames, second.frames) == (12, 20)
    assert [word in "; ".join(first.notes) for word in ("32x32", "shorter", "12 frames", "no sound")] == [True] * 4
    assert "longer" in "; ".join(second.notes)
    assert first.values["loud"] == pytest.approx(first.values["loud_real"])


def test_another_frame_rate_is_compared_at_25(folders):
    film(folders[1] / "a.mp4", 110, frames=40, fps=50)
    film(folders[1] / "b.mp4", 110, frames=24, fps=30)
    assert [clip.frames for clip in evaluated(folders).methods[1].clips] == [20, 20]


def test_only_the_beginning_is_compared_where_that_is_asked(folders):
    film(folders[1] / "a.mp4", 110)
    film(folders[1] / "b.mp4", 110)
    result = evaluated(folders, seconds=0.4)
    assert {clip.frames for method in result.methods for clip in method.clips} == {10}


def test_timings_beside_the_videos_become_columns(folders):
    film(folders[1] / "a.mp4", 110)
    film(folders[1] / "b.mp4", 110)
    timing = Timing(20, 0.8, 0.4, 0.1, 300.0, {"motion": 0.2})
    write_timings(folders[1], {"a.mp4": timing})
    result = evaluated(folders)
    first, second = result.methods[1].clips
    assert first.values["fps"] == pytest.approx(50)
    assert first.values["real_time_factor"] == pytest.approx(0.5)
    assert first.values["stage_motion"] == pytest.approx(0.25)
    assert "fps" not in second.values
    assert {"fps", "stage_motion", "peak_memory"} <= {column.key for column in result.columns}


def test_unavailable_columns_stay_in_the_table_with_the_reason(folders):
    film(folders[1] / "a.mp4", 110)
    column = MetricSpec("fid", "FID", "", "lower", "for tests")
    result = evaluated(folders, unavailable={column: "kptalk weights pull inception"})
    assert column in result.columns
    assert result.unavailable == {"fid": "kptalk weights pull inception"}


def test_a_run_cut_short_leaves_what_was_measured(folders, tmp_path):
    film(folders[1] / "a.mp4", 110)
    film(folders[1] / "b.mp4", 110)
    told = []

    def stop(*progress):
        told.append(progress)
        if progress[0] == "measuring ours":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluated(folders, on_progress=stop, journal=tmp_path / "unfinished.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "unfinished.jsonl").read_text().splitlines()]
    assert [(row["method"], row["clip"]) for row in rows] == [("real", "a.mp4"), ("real", "b.mp4"), ("ours", "a.mp4")]
    assert rows[2]["distance"] > rows[0]["distance"] == 0
    assert told == [("measuring real", 1, 2), ("measuring real", 2, 2), ("measuring ours", 1, 2)]


def test_real_videos_must_be_usable(folders):
    (folders[0] / "c.mp4").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"c\.mp4"):
        evaluated(folders)


def test_real_videos_must_have_sound(folders):
    """Said before any clip is judged."""
    film(folders[0] / "b.mp4", 100, sound=None)
    told = []
    with pytest.raises(DatasetError, match=r"b\.mp4 has no sound"):
        evaluated(folders, on_progress=lambda *args: told.append(args))
    assert not told


def test_methods_have_names_of_their_own(folders):
    for names in (("x", "x"), ("real",)):
        with pytest.raises(DatasetError, match="named"):
            evaluate(find_clips(folders[0]), [VideoFolder(name, folders[1]) for name in names], [])


def test_a_folder_without_videos(tmp_path):
    (tmp_path / "._a.mp4").write_bytes(b"a Mac's")
    with pytest.raises(DatasetError, match="holds no video"):
        find_clips(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        find_clips(tmp_path / "absent")


def test_the_frozen_list_is_kept_to(folders):
    clips = find_clips(folders[0])
    listed = [Clip(path.name, sha256(path), 20) for path in reversed(clips)]
    assert select_listed(clips, listed) == clips[::-1]
    assert select_listed(clips, listed[:1]) == clips[1:]
    with pytest.raises(DatasetError, match="sha256"):
        select_listed(clips, [Clip("a.mp4", "0" * 64, 20)])
    with pytest.raises(DatasetError, match="not there"):
        select_listed(clips, [Clip("z.mp4", "0" * 64, 20)])


def test_a_real_clip_is_seen_with_its_face_and_sound():
    path = CLIPS / "grid_mlbax_1.mp4"
    frames = list(sample_frames(path, 1))
    assert len(frames) == 25
    assert all(frame.mesh.shape == (478, 3) for frame in frames)
    assert len(read_audio(path, 25)) == 16_000
    assert np.abs(read_audio(path, 25)).max() > 0.01


def test_sound_ends_where_it_ends(folders):
    path = film(folders[0] / "a.mp4", 100, frames=10)
    assert len(read_audio(path, 10)) == 10 * 640
    assert 10 * 640 <= len(read_audio(path, 20)) < 15 * 640
    assert read_audio(film(folders[0] / "mute.mp4", 100, sound=None), 10) is None


@pytest.mark.parametrize("delay", [-8, 0, 8])
def test_sound_that_begins_before_or_after_the_pictures_is_heard_in_its_place(tmp_path, delay):
    """The same pictures and sound as Matroska, the one or the other late by 8 frames."""
    path = CLIPS / "grid_flbbc_1.mp4"
    sound = read_audio(path, 70)
    with av.open(tmp_path / "clip.mkv", "w") as container:
        video, audio = container.add_stream("ffv1", rate=25), container.add_stream("pcm_s16le", rate=RATE)
        video.width, video.height, video.pix_fmt, audio.layout = 64, 64, "yuv420p", "mono"
        for k in range(70):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), k, np.uint8), "rgb24")
            frame.pts, frame.time_base = k + max(-delay, 0), Fraction(1, 25)
            container.mux(video.encode(frame))
            block = (32767 * sound[k * 640 : (k + 1) * 640]).astype(np.int16)[None]
            samples = av.AudioFrame.from_ndarray(block, "s16", "mono")
            samples.rate, samples.pts, samples.time_base = RATE, 640 * (k + max(delay, 0)), Fraction(1, RATE)
            container.mux(audio.encode(samples))
        container.mux(video.encode(None))
    heard = read_audio(tmp_path / "clip.mkv", 70)
    expected = np.concatenate([np.zeros(640 * max(delay, 0)), sound[640 * max(-delay, 0) :]])[: 640 * 70]
    assert len(heard) == len(expected)
    np.testing.assert_allclose(heard, expected, atol=1e-4)


def test_methods_are_named_by_as_much_of_the_path_as_tells_them_apart(tmp_path):
    a, b, c = (tmp_path / name for name in ("one/out", "two/out", "three"))
    assert method_names([a, b, c]) == ["one/out", "two/out", "three"]
    assert method_names([c, tmp_path / "x/real"], ["real"]) == ["three", "x/real"]
    assert method_names([c, tmp_path / "x/real"]) == ["three", "real"]
    assert method_names([a, a]) == ["out", "out"]


def test_stages_of_all_methods_have_columns(folders):
    other = folders[1].parent / "other"
    other.mkdir()
    for folder, stages in ((folders[1], {"motion": 0.2}), (other, {})):
        film(folder / "a.mp4", 110)
        write_timings(folder, {"a.mp4": Timing(20, 0.8, 0.4, 0.1, 300.0, stages)})
    methods = [VideoFolder("ours", folders[1]), VideoFolder("other", other)]
    assert "stage_motion" in {column.key for column in evaluate(find_clips(folders[0]), methods, []).columns}


@pytest.mark.slow
def test_workers_measure_the_same(folders, tmp_path):
    """In processes: the same numbers, also of all clips together, the same journal, and the same failures."""
    for name in ("a.mp4", "b.mp4"):
        film(folders[1] / name, 110, frames=12 if name == "a.mp4" else 20)
    (folders[0] / "c.mp4").write_bytes((folders[0] / "b.mp4").read_bytes())
    real, methods = find_clips(folders[0]), [VideoFolder("ours", folders[1])]
    here = evaluate(real, methods, counting(), journal=tmp_path / "here")
    there = evaluate(real, methods, counting(), journal=tmp_path / "there", open_metrics=counting, jobs=2)
    assert there.methods[1].missing == here.methods[1].missing
    assert set(here.methods[1].missing) == {"c.mp4"}
    for mine, theirs in zip(here.methods, there.methods, strict=True):
        assert theirs.overall == mine.overall
        assert [clip.values for clip in theirs.clips] == [clip.values for clip in mine.clips]
        assert [clip.sha256 for clip in theirs.clips] == [clip.sha256 for clip in mine.clips]
    assert here.methods[1].overall == {"places": 12 + 2 * 20}
    assert (tmp_path / "there").read_text() == (tmp_path / "here").read_text()


def test_workers_need_metrics_that_they_can_open(folders):
    with pytest.raises(OptionError, match="jobs is 2"):
        evaluate(find_clips(folders[0]), [], [Brightness()], jobs=2)
    with pytest.raises(OptionError, match="engine is 'slurm'"):
        evaluate(find_clips(folders[0]), [], [Brightness()], engine="slurm")
