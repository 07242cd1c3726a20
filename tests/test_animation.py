"""An animation as a value: read twice, cancelled, written to open files, shown in notebooks, never copied."""

import copy
import io
import os
import pickle
import re
import threading
import time
from base64 import b64decode
from itertools import islice

import av
import numpy as np
import pytest
from fakes import random_motion
from speaking import count, hum, speech, streams

from kptalk import job
from kptalk.errors import Cancelled, KptalkError, OutputError
from kptalk.media import html
from kptalk.media.audio import Speech
from kptalk.media.stream import StreamSink
from kptalk.options import Control, Options


@pytest.fixture
def animation(pipeline, portrait):
    return pipeline.animate(portrait, speech(32_000))


def test_it_is_iterated_frame_by_frame(animation):
    frames = list(animation)
    assert len(frames) == animation.expected == 50
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((128, 128, 3), "uint8")}
    assert np.array_equal(np.stack(frames), np.concatenate(list(animation.frames())))


def test_every_reading_begins_anew_with_the_same_result(animation, tmp_path):
    first = np.stack(list(animation))
    assert len(list(islice(animation, 7))) == 7  # given up in the middle
    assert np.array_equal(np.stack(list(animation)), first)
    pair = [np.stack(two) for two in zip(*zip(animation, animation, strict=True), strict=True)]  # side by side
    assert all(np.array_equal(one, first) for one in pair)
    one, two = (animation.save(tmp_path / name).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert one == two


def test_what_it_tells_of_itself(pipeline, portrait, animation, tmp_path):
    assert (animation.size, animation.fps, animation.expected) == ((128, 128), 25, 50)
    assert isinstance(animation.sound, Speech)
    assert repr(animation) == "<Animation 128x128, 25 fps, 50 frames, 2.00 s, with sound>"
    silent = pipeline.reenact(portrait, random_motion(5))
    assert silent.sound is None
    assert repr(silent) == "<Animation 128x128, 25 fps, 5 frames, 0.20 s, silent>"
    endless = Speech("generator", lambda: iter([hum(16_000)[None]]), 16_000, "mono", None)
    unknown = pipeline.animate(portrait, endless, fps="29.97")
    assert (unknown.expected, repr(unknown)) == (None, "<Animation 128x128, 29.97 fps, with sound>")
    with pytest.raises(TypeError, match="no len"):
        len(animation)
    silent.save(tmp_path / "out.mp4")
    assert repr(silent).endswith(f"silent, saved as {tmp_path / 'out.mp4'}>")


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_copied(animation, duplicate):
    with pytest.raises(TypeError, match="an Animation cannot be copied or pickled"):
        duplicate(animation)


def test_options_motion_and_pipeline_can(pipeline, portrait):
    options = Options(seed=3, fps=30, control=Control(pose=random_motion(4), yaw=2))
    for original in (options, random_motion(7)):
        assert pickle.loads(pickle.dumps(original)) == original == copy.deepcopy(original)
    frames = np.stack(list(pipeline.animate(portrait, speech(4000))))
    for again in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        assert np.array_equal(np.stack(list(again.animate(portrait, speech(4000)))), frames)


# Cancelling


def endless():
    """A minute of speech, whose pictures take a second or so here."""
    return Speech("generator", lambda: (hum(16_000)[None] for _ in range(3600)), 16_000, "mono", None)


def test_cancelled_from_another_thread(pipeline, portrait, tmp_path):
    animation, told = pipeline.animate(portrait, endless()), []
    threads = threading.active_count()

    def on_progress(stage, done, total):
        told.append((stage, done))
        if stage == "encoding":
            threading.Thread(target=animation.cancel).start()

    with pytest.raises(Cancelled, match="cancelled"):
        animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "m.safetensors", on_progress=on_progress)
    assert list(tmp_path.iterdir()) == []
    assert max(done for stage, done in told if stage == "encoding") < 2000
    while threading.active_count() > threads:
        time.sleep(0.01)
    assert "cancelled" in repr(animation)


def test_iteration_ends_when_cancelled(animation):
    frames = iter(animation)
    next(frames)
    animation.cancel()
    with pytest.raises(Cancelled):
        assert len(list(frames)) < 8


def test_cancelled_before_after_and_twice(animation, tmp_path):
    path = animation.save(tmp_path / "out.mp4")
    animation.cancel()
    animation.cancel()
    assert streams(path)[0] == 50  # what is finished stays
    for read in (count, list, lambda a: list(a.motion()), lambda a: a.save(tmp_path / "b.mp4")):
        with pytest.raises(Cancelled):
            read(animation)
    assert list(tmp_path.iterdir()) == [path]
    assert issubclass(Cancelled, KptalkError)


# Open files


class Pipe(io.RawIOBase):
    """Takes a few bytes at a time, and cannot seek."""

    def __init__(self):
        self.content = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.content += data[:1000]
        return min(len(data), 1000)


class Mine:
    """No file, but something to write to."""

    def __init__(self):
        self.content = bytearray()

    def write(self, data):
        self.content += data


def decoded(content):
    with av.open(io.BytesIO(content)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(io.BytesIO(content)) as container:
        return pictures, sum(frame.samples for frame in container.decode(audio=0)) / 16_000


def test_saved_into_open_files(animation, tmp_path):
    buffer, pipe, mine = io.BytesIO(), Pipe(), Mine()
    for file in (buffer, pipe, mine):
        assert animation.save(file) is None
    assert decoded(buffer.getvalue()) == (50, pytest.approx(2, abs=0.1))
    assert buffer.getvalue() == bytes(pipe.content) == bytes(mine.content)
    with open(tmp_path / "whole.mp4", "wb") as file:
        animation.save(file)
    assert (tmp_path / "whole.mp4").read_bytes() == buffer.getvalue()


def test_a_stream_begins_before_the_video_is_drawn(pipeline, portrait):
    """One fragment a second, so that a browser plays while the rest is drawn."""
    drawn = []

    class Watched(Mine):
        def write(self, data):
            drawn.append(sum(pipeline.method.renderer.drawn))
            super().write(data)

    pipeline.animate(portrait, speech(480_000)).save(Watched())
    assert drawn[0] < 150 < 750 == drawn[-1]


def test_a_broken_pipe_is_one_error_and_ends_all(pipeline, portrait):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file, pytest.raises(OutputError, match="Broken pipe"):
        pipeline.animate(portrait, speech(960_000)).save(file)
    assert sum(pipeline.method.renderer.drawn) < 1000


def test_what_no_video_can_be_written_to(pipeline, portrait, animation, tmp_path):
    (tmp_path / "text").touch()
    closed = io.BytesIO()
    closed.close()
    with open(tmp_path / "text") as text, open(tmp_path / "text", "rb") as read_only:
        for bad in (None, 3, io.StringIO(), text, read_only, closed):
            with pytest.raises(OutputError, match="cannot write"):
                animation.save(bad)
    assert not pipeline.method.renderer.drawn


def test_a_file_closed_in_the_middle(animation):
    buffer = io.BytesIO()
    with pytest.raises(OutputError, match="closed"):
        animation.save(buffer, on_progress=lambda *_: buffer.close())


# Notebooks


def player(text):
    source = re.search(r'<video controls width="(\d+)" [^>]*src="([^"]+)"', text)
    return int(source[1]), source[2]


def test_a_short_animation_is_drawn_once_and_shown(animation, pipeline):
    shown = animation._repr_html_()
    width, source = player(shown)
    assert width == 128
    assert decoded(b64decode(source.removeprefix("data:video/mp4;base64,")))[0] == 50
    assert "&lt;Animation 128x128" in shown
    drawn = len(pipeline.method.renderer.drawn)
    assert animation._repr_html_() == shown
    assert len(pipeline.method.renderer.drawn) == drawn


@pytest.mark.parametrize("why", ["long", "unknown", "cancelled", "slow"])
def test_what_would_take_long_is_not_drawn_unasked(pipeline, portrait, why, monkeypatch):
    sound = {"long": speech(16_000 * 11), "unknown": endless()}.get(why, speech(80_000))
    animation = pipeline.animate(portrait, sound)
    if why == "cancelled":
        animation.cancel()
    if why == "slow":
        monkeypatch.setattr(job, "SHOWN_PATIENCE", 0.0)
    shown = animation._repr_html_()
    assert "video" not in shown
    assert "animation.save(" in shown
    assert sum(pipeline.method.renderer.drawn) < 100


def test_a_saved_video_is_shown_whatever_its_length(pipeline, portrait, tmp_path, monkeypatch):
    animation = pipeline.animate(portrait, speech(16_000 * 11))
    path = animation.save(tmp_path / "mine & yours.mp4")
    source = player(animation._repr_html_())[1]
    assert b64decode(source.removeprefix("data:video/mp4;base64,")) == path.read_bytes()
    monkeypatch.setattr(html, "LARGEST_EMBEDDED", 1000)
    monkeypatch.chdir(tmp_path)
    assert player(animation._repr_html_())[1] == "mine%20%26%20yours.mp4"
    path.unlink()
    assert "animation.save(" in animation._repr_html_()


def test_it_is_encoded_in_steps_with_the_bytes_of_save(animation):
    whole, steps = io.BytesIO(), io.BytesIO()
    animation.save(whole)
    encoded = list(animation.encode(StreamSink(steps)))
    assert steps.getvalue() == whole.getvalue()
    assert encoded == sorted(encoded)
    assert encoded[-1] == 50
    assert len(encoded) >= 50 // job.BATCH_SIZE


def test_two_that_take_turns_become_what_they_are_alone(pipeline, portrait):
    both = [pipeline.animate(portrait, speech(32_000), seed=seed) for seed in (1, 2)]
    alone, in_turns = [io.BytesIO(), io.BytesIO()], [io.BytesIO(), io.BytesIO()]
    for one, file in zip(both, alone, strict=True):
        one.save(file)
    working = [one.encode(StreamSink(file)) for one, file in zip(both, in_turns, strict=True)]
    while working:
        working = [steps for steps in working if next(steps, None) is not None]
    assert [file.getvalue() for file in in_turns] == [file.getvalue() for file in alone]


def test_steps_that_are_given_up_end_the_work(animation):
    before, file = threading.active_count(), io.BytesIO()
    steps = animation.encode(StreamSink(file))
    next(steps)
    steps.close()
    assert threading.active_count() == before
    assert animation.cancel() is None
    with pytest.raises(Cancelled):
        next(animation.encode(StreamSink(io.BytesIO())))
