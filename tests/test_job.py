"""A video in the making: interruptions, errors of the encoder, outputs that cannot be."""

import threading
from dataclasses import replace

import av
import numpy as np
import pytest
from speaking import speech, streams

from kptalk.errors import OutputError
from kptalk.types import Motion


class Interrupted:
    """A renderer that is stopped in the middle of the work."""

    def __init__(self, renderer, after, error):
        self.renderer, self.after, self.error = renderer, after, error

    def __getattr__(self, name):
        return getattr(self.renderer, name)

    def with_drawing(self, steps, guidance):
        return self

    def step(self, motion, state):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return self.renderer.step(motion, state)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")])
def test_interruption_leaves_what_was_done_under_a_temporary_name(pipeline, portrait, tmp_path, error):
    pipeline.method = replace(pipeline.method, renderer=Interrupted(pipeline.method.renderer, 12, error))
    with pytest.raises(type(error)):
        pipeline.animate(portrait, speech(160_000)).save(tmp_path / "out.mp4")
    (left,) = tmp_path.iterdir()
    assert left.name != "out.mp4"
    with av.open(str(left)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 25


def test_error_of_the_encoder_is_told(pipeline, portrait, tmp_path, monkeypatch):
    def fail(self, frames):
        raise OutputError("disk full")

    monkeypatch.setattr("kptalk.media.encoder.VideoWriter.write", fail)
    with pytest.raises(OutputError, match="disk full"):
        pipeline.animate(portrait, speech(160_000)).save(tmp_path / "out.mp4")


@pytest.mark.parametrize("name", ["nowhere/out.mp4", "out.avi"])
def test_outputs_that_cannot_be_are_refused_before_any_work(pipeline, portrait, tmp_path, name):
    animation = pipeline.animate(portrait, speech(16_000))
    with pytest.raises(OutputError):
        animation.save(tmp_path / name)
    assert not pipeline.method.renderer.drawn


def test_motion_that_cannot_be_saved_is_refused_before_any_work(pipeline, portrait, tmp_path):
    animation = pipeline.animate(portrait, speech(16_000))
    with pytest.raises(OutputError, match="nowhere"):
        animation.save(tmp_path / "out.mp4", save_motion=tmp_path / "nowhere" / "motion.safetensors")
    assert not pipeline.method.renderer.drawn


@pytest.mark.parametrize("name", ["photo.png", "old.safetensors"])
def test_a_motion_never_replaces_another_file_unasked(pipeline, portrait, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OutputError, match=name):
        pipeline.animate(portrait, speech(16_000)).save(tmp_path / "out.mp4", save_motion=tmp_path / name)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    assert not pipeline.method.renderer.drawn


def test_an_old_motion_is_replaced_where_told(pipeline, portrait, tmp_path):
    saved = tmp_path / "old.safetensors"
    saved.write_bytes(b"mine")
    pipeline.animate(portrait, speech(16_000)).save(tmp_path / "out.mp4", save_motion=saved, overwrite=True)
    assert len(Motion.load(saved)) == 25


def test_existing_output_is_kept_unless_told(pipeline, portrait, tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        pipeline.animate(portrait, speech(16_000)).save(path)
    assert path.read_bytes() == b"mine"
    pipeline.animate(portrait, speech(16_000)).save(path, overwrite=True)
    assert streams(path)[0] == 25


def test_motion_is_made_ahead_of_drawing_in_a_thread_that_ends(pipeline, portrait):
    """An abandoned reading leaves no thread behind; the pieces are those of ``motion``."""
    animation, kept = pipeline.animate(portrait, speech(160_000)), []
    before = threading.active_count()
    frames = animation.frames(kept=kept)
    next(frames)
    assert threading.active_count() == before + 1
    frames.close()
    assert threading.active_count() == before
    pieces = list(animation.motion())
    assert np.array_equal(kept[0].expression, pieces[0].expression)
    kept.clear()
    assert sum(map(len, animation.frames(kept=kept))) == 250
    assert np.array_equal(Motion.concatenate(kept).rotation, Motion.concatenate(pieces).rotation)
    assert threading.active_count() == before
