"""Which videos have a watermark: what is saved, unless the option says no; frames that a program reads are raw."""

import io

import av
import numpy as np
import pytest
from speaking import speech

from kptalk.media.watermark import Marker
from kptalk.options import Options
from kptalk.types import Motion


def frames_of(content):
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def saved(animation):
    file = io.BytesIO()
    animation.save(file)
    return file.getvalue()


@pytest.fixture
def animate(pipeline, portrait):
    return lambda **options: pipeline.animate(portrait, speech(8_000), **options)


@pytest.fixture
def payloads(monkeypatch):
    """What is hidden, in the order of the videos."""
    seen = []
    begin = Marker.__init__

    def noted(self, payload, size):
        seen.append(payload)
        begin(self, payload, size)

    monkeypatch.setattr(Marker, "__init__", noted)
    return seen


def test_what_is_saved_is_marked_and_what_is_read_is_not(animate, payloads):
    marked, plain = animate(), animate(watermark=False)
    assert all((a == b).all() for a, b in zip(marked, plain, strict=True))
    assert payloads == []
    assert saved(marked) != saved(plain)
    assert len(payloads) == 1
    assert marked.size == plain.size
    difference = frames_of(saved(marked)).astype(int) - frames_of(saved(plain))
    assert 0 < np.abs(difference).mean() < 3


def test_same_seed_and_inputs_give_the_same_bytes_and_others_another_id(animate, payloads, pipeline, portrait):
    assert saved(animate(seed=3)) == saved(animate(seed=3))
    saved(animate(seed=4))
    saved(pipeline.animate(portrait, speech(9_000), seed=3))
    one, again, other_seed, other_speech = payloads
    assert one == again
    assert len({one.id, other_seed.id, other_speech.id}) == 3


def test_a_driven_and_a_live_video_are_marked_too(animate, payloads, pipeline, portrait):
    motion = Motion.concatenate([piece for piece in animate().motion() if len(piece)])
    saved(pipeline.reenact(portrait, motion))
    saved(pipeline.reenact(portrait, motion, watermark=False))
    assert len(payloads) == 1
    sound = [np.zeros(8_000, np.float32)]
    pipeline.live(portrait, size=64).save(sound, io.BytesIO())
    pipeline.live(portrait, size=64, watermark=False).save(sound, io.BytesIO())
    assert len(payloads) == 2


def test_it_travels_with_a_job():
    assert Options().to_dict() == {}
    assert Options(watermark=False).to_dict() == {"watermark": False}
    assert Options.from_dict({"watermark": False}).watermark is False
