"""Videos by the papers' protocol: first frame, own sound, first 8 seconds; with their timings."""

from fractions import Fraction

import numpy as np
import pytest
from fakes import facemesh_space, fake_pipeline
from media_shared import CLIPS
from recordings import tone, write_clip

from kptalk.evaluate.generate import generate_videos
from kptalk.evaluate.made import goes_on
from kptalk.evaluate.speed import Timing, read_timings
from kptalk.media.clip import probe, read_frames


@pytest.fixture
def clips(tmp_path):
    """A real clip, and one without a face."""
    blank = write_clip(
        tmp_path / "blank.mp4", np.full((25, 64, 64, 3), 90, np.uint8), Fraction(25), tone(16_000, 1), 16_000
    )
    return [CLIPS / "grid_flbbc_1.mp4", blank]


@pytest.mark.slow
def test_the_first_frame_speaks_and_what_cannot_is_named(clips, tmp_path):
    folder, told = tmp_path / "made", []
    folder.mkdir()
    method = generate_videos(
        fake_pipeline(facemesh_space()),
        clips,
        folder,
        name="fake",
        seconds=2.0,
        on_progress=lambda *args: told.append(args),
    )
    assert (method.name, method.folder, list(method.failures)) == ("fake", folder, ["blank.mp4"])
    assert "face" in method.failures["blank.mp4"]
    made = probe(folder / "grid_flbbc_1.mp4")
    assert (made.fps, made.has_audio, made.duration) == (25, True, 2)
    first = next(read_frames(folder / "grid_flbbc_1.mp4")).astype(int)
    photo = next(read_frames(clips[0])).astype(int)
    assert np.abs(first - photo).mean() < 4
    timing = read_timings(folder)["grid_flbbc_1.mp4"]
    assert (timing.frames, timing.duration) == (50, 2)
    assert 0 < timing.first_frame < timing.seconds
    assert timing.peak_memory > 50
    assert {"decoding", "portrait", "motion", "drawing", "encoding"} == set(timing.stages)
    assert told == [("generating", 1, 2), ("generating", 2, 2)]
    assert sorted(path.name for path in folder.iterdir()) == ["grid_flbbc_1.mp4", "timing.json"]


def test_pictures_that_are_measured_have_no_watermark(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("kptalk.media.encoder.Marker", None)  # cannot be called
    method = generate_videos(fake_pipeline(facemesh_space()), clips[:1], tmp_path, name="fake", seconds=0.2)
    assert method.failures == {}


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on(clips, tmp_path, monkeypatch):
    """Only what is missing is made; all of it where the key or the clip is another."""
    begun = []

    def stub(_, clip, path, *__):
        begun.append(clip.name)
        path.write_bytes(clip.name.encode())
        return Timing(25, 1.0, 0.5, 0.1, 100.0)

    def stop(_, done, __):
        if done == 1:
            raise Interrupted

    monkeypatch.setattr("kptalk.evaluate.generate._generate", stub)
    folder = tmp_path / "made"

    def generate(cache_key, on_progress=None):
        begun.clear()
        generate_videos(None, clips, folder, name="a", cache_key=cache_key, on_progress=on_progress)
        return begun, set(read_timings(folder))

    names = [clip.name for clip in clips]
    with pytest.raises(Interrupted):
        generate("a", stop)
    assert goes_on(folder, "a")
    assert not goes_on(folder, "b")
    assert generate("a") == (names[1:], set(names))
    assert generate("a") == ([], set(names))
    (folder / names[0]).unlink()
    clips[1].write_bytes(b"another")
    assert generate("a") == (names, set(names))
    assert generate("b") == (names, set(names))
    (folder / "made.json").write_bytes(b"[")
    assert generate("b") == (names, set(names))


@pytest.mark.slow
def test_the_whole_clip_where_that_is_asked(clips, tmp_path):
    generate_videos(fake_pipeline(facemesh_space()), clips[:1], tmp_path, name="fake", seconds=None)
    assert read_timings(tmp_path)["grid_flbbc_1.mp4"].duration == pytest.approx(
        float(probe(clips[0]).duration), abs=0.04
    )
