"""Live speech: frames come out while sound goes in, as late as they say and no later, and in step with the sound."""

import io
import itertools

import av
import numpy as np
import pytest
from skimage import data
from speaking import said

import kptalk
from kptalk.errors import AudioError, Cancelled, OptionError
from kptalk.live import FRAME, HISTORY, LiveAnimation
from kptalk.types import Motion

RATE = 16_000


@pytest.fixture(scope="module")
def pipeline():
    return kptalk.Pipeline.from_pretrained()


@pytest.fixture(scope="module")
def portrait(pipeline):
    from kptalk.face.find import find_portrait

    return find_portrait(data.astronaut())


@pytest.fixture
def live(pipeline, portrait):
    return pipeline.live(portrait, framing="crop", size=64)


def cut(samples, size=320):
    return (samples[start : start + size] for start in range(0, len(samples), size))


def motion_of(live, samples):
    return Motion.concatenate(list(live._motion(cut(samples))))


def test_every_frame_comes_in_time(live):
    heard, late = 0, []

    def chunks():
        nonlocal heard
        for chunk in cut(said(3.0)):
            heard += len(chunk)
            yield chunk

    for number, frame in enumerate(live.frames(chunks())):
        assert (frame.shape, frame.dtype) == ((64, 64, 3), np.uint8)
        if heard < 3 * RATE:  # at the end the rest comes at once
            late.append(heard / RATE - (number - live.lead) / 25)
    assert number + 1 == live.lead + 75
    assert live.delay - 0.04 < max(late[live.lead :]) <= live.delay + 320 / RATE
    assert live.delay < 0.7


def test_the_face_is_there_before_anyone_speaks(live):
    """Half a second of it at once, and it goes on."""

    def silence():
        yield from itertools.repeat(np.zeros(320, np.float32), 25)
        pytest.fail("asked for a second of sound before showing a face for that long")

    assert len(list(itertools.islice(live.frames(silence()), 16))) == 16


def test_the_idle_face_moves_and_its_mouth_rests(live):
    motion = motion_of(live, np.zeros(4 * RATE, np.float32))
    space = live._session.method.space
    change = space.to_head_frame(motion)
    mouth, eyes = (space.region(name, change - change.mean(0)) for name in ("mouth", "eyes"))
    assert np.ptp(motion.rotation, 0).max() > 0.5
    assert np.abs(eyes).max() > 5 * np.abs(mouth).max()


def test_the_mouth_is_that_of_the_whole_recording(pipeline, portrait, live):
    """The windows of live motion know less; it still is the same speech, at the same place in time."""
    samples = said(5.0)
    live = pipeline.live(portrait, framing="crop", size=64, blinks=0)
    offline = pipeline.animate(portrait, (samples, RATE), framing="crop", size=64, blinks=0, ease_in_out=False)
    whole = Motion.concatenate([piece for piece in offline.motion() if len(piece)])
    space = live._session.method.space
    tracks = []
    for motion in (whole, motion_of(live, samples)[live.lead :]):
        change = space.to_head_frame(motion)
        tracks.append(space.region("mouth", change - change.mean(0)).reshape(len(motion), -1))
    loudest = np.argsort(tracks[0].std(0))[-9:]

    def correlation(shift):
        one, other = tracks[0][10:-10, loudest], np.roll(tracks[1], -shift, 0)[10:-10, loudest]
        return np.mean([np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(9)])

    assert correlation(0) > 0.93
    assert max(range(-5, 6), key=correlation) == 0


def test_how_the_sound_is_cut_makes_no_difference(live):
    samples = said(1.5)
    one = Motion.concatenate(list(live._motion(cut(samples, 123))))
    assert one == Motion.concatenate(list(live._motion(cut(samples, 5000))))


def test_integers_are_sound_too(live):
    samples = said(1.0)
    whole = (samples * 32767).astype(np.int16)
    frames = [list(live.frames(cut(each))) for each in (whole, whole / np.float32(32768))]
    assert np.array_equal(*frames)


def test_a_soft_voice_opens_the_mouth_as_wide(live):
    samples = said(3.0)
    space = live._session.method.space

    def opening(motion):
        change = space.to_head_frame(motion)
        return space.region("mouth", change - change.mean(0))[live.lead + 25 :].std()

    ratio = opening(motion_of(live, samples * np.float32(0.05))) / opening(motion_of(live, samples))
    assert 0.8 < ratio < 1.2


def test_picture_and_sound_of_the_video(live):
    samples, video = said(2.0), io.BytesIO()
    live.save(cut(samples), video)
    with av.open(io.BytesIO(video.getvalue())) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(io.BytesIO(video.getvalue())) as container:
        sound = np.concatenate([each.to_ndarray()[0] for each in container.decode(audio=0)])
    assert frames == live.lead + 50
    expected = np.concatenate([np.zeros(live.lead * FRAME, np.float32), samples])
    part = samples[:RATE]
    shifts = {shift: float(sound[shift : shift + RATE] @ part) for shift in range(0, 16_000, 16)}
    found = max(shifts, key=shifts.get)
    assert abs(found - live.lead * FRAME) <= 1024 + 16  # decoders differ by AAC's priming
    assert abs(len(sound) - len(expected)) <= 2 * 1024
    assert b"live voice" in video.getvalue()


def test_the_video_comes_while_it_is_spoken(live):
    """After every second of sound, what has been written plays up to the delay and a few frames."""
    written = bytearray()

    class Pipe:
        def write(self, data):
            written.extend(data)

    def chunks():
        for number, chunk in enumerate(cut(said(3.0), RATE)):
            if number:
                with av.open(io.BytesIO(bytes(written))) as container:
                    shown = sum(1 for _ in container.decode(video=0))
                assert shown >= live.lead + 25 * number - 25 * live.delay - 8
            yield chunk

    live.save(chunks(), Pipe())


class Gone:
    def write(self, data):
        raise BrokenPipeError("gone")


def test_who_leaves_ends_the_work(live):
    asked = 0

    def chunks():
        nonlocal asked
        for chunk in cut(said(8.0)):
            asked += 1
            yield chunk

    with pytest.raises(kptalk.errors.OutputError):
        live.save(chunks(), Gone())
    assert asked < 100


def test_bad_sound(live):
    for bad in (b"12", np.zeros((2, 320), np.float32), np.zeros(3, complex)):
        with pytest.raises(AudioError, match="live sound comes as"):
            list(live.frames([bad]))


def test_an_error_of_the_source_passes(live):
    def chunks():
        yield np.zeros(320, np.int16)
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        list(live.frames(chunks()))


def test_what_cannot_be_live(pipeline, portrait):
    with pytest.raises(OptionError, match="fps is 30: live video has 25"):
        pipeline.live(portrait, fps=30)
    with pytest.raises(OptionError, match="leave none of 64 new"):
        pipeline.live(portrait, stride=0)
    with pytest.raises(OptionError, match="leave none of 64 new"):
        pipeline.live(portrait, stride=60, lookahead=6)


def test_the_delay_is_what_the_windows_make_it(pipeline, portrait):
    delays = [pipeline.live(portrait, framing="crop", size=64, stride=stride).delay for stride in (6, 11)]
    assert delays[1] - delays[0] == pytest.approx(0.2)
    assert isinstance(pipeline.live(portrait, framing="crop", size=64), LiveAnimation)
    assert repr(pipeline.live(portrait, framing="crop", size=64)) == "<LiveAnimation 64x64, 0.61 s behind the sound>"
    assert HISTORY * FRAME < 3 * RATE
