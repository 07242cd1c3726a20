"""Videos that are watched while they are made: when their first bytes come, what they hold, and what they become."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from recordings import tone, write_sound

from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter, fits_level
from kptalk.media.sink import copy_plain
from kptalk.media.stream import StreamSink

FPS = Fraction(25)
TAGS = {"title": "t", "comment": "c"}


def moving(count, width=128, height=96):
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (height, width + count, 3)).astype(np.uint8)
    return np.stack([texture[:, k : k + width] for k in range(count)])


def written(frames, speech, low_delay=True, fps=FPS):
    """The bytes, and how many there were after every frame."""
    file, lengths = io.BytesIO(), []
    size = frames.shape[2], frames.shape[1]
    with VideoWriter(StreamSink(file, low_delay), fps, size, speech, TAGS) as writer:
        for frame in frames:
            writer.write(frame[None])
            lengths.append(len(file.getvalue()))
    return file.getvalue(), lengths


def codec(content):
    place = content.index(b"avcC") + 5
    return content[place : place + 3].hex()


def test_the_first_fragment_leaves_after_seven_frames():
    speech = Speech.from_samples(tone(48_000, 4.0)[0], 48_000)  # with 16 kHz, of longer packets, after eight
    (_, soon), (_, late) = (written(moving(60), speech, low_delay) for low_delay in (True, False))
    assert 1 + next(k for k, length in enumerate(soon) if length > 10_000) <= 7
    assert 1 + next(k for k, length in enumerate(late) if length > 10_000) > 25
    steps = np.flatnonzero(np.diff(soon) > 1000)  # a fragment every four frames
    assert np.diff(steps).max() <= 5


def test_keyframes_come_every_four_seconds_and_no_frame_waits_for_a_later_one():
    content, _ = written(moving(210, 64, 64), None)
    with av.open(io.BytesIO(content)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [k for k, packet in enumerate(packets) if packet.is_keyframe] == [0, 100, 200]
        assert all(packet.pts == packet.dts for packet in packets)


def test_the_sound_is_aac_even_of_mp3_which_is_not_looked_through_first(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "a.mp3", tone(44_100, 2.0, 2), 44_100, "stereo")
    monkeypatch.setattr("kptalk.media.sound._form", None)
    content, _ = written(moving(50), Speech.open(path))
    with av.open(io.BytesIO(content)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        sound = sum(frame.samples for frame in container.decode(audio=0))
        assert sound / 44_100 == pytest.approx(2, abs=0.06)
    with av.open(io.BytesIO(content)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50


def test_frames_and_sound_begin_together():
    """Chrome obeys the edit list, so the sound's priming must be in it."""
    content, _ = written(moving(50), Speech.from_samples(tone(16_000, 2.0)[0], 16_000))
    assert content.index(b"elst") < content.index(b"moof")
    with av.open(io.BytesIO(content)) as container:
        first = {stream.type: next(container.decode(stream)).time for stream in container.streams}
    assert abs(first["video"] - first["audio"]) < 0.001


@pytest.mark.parametrize(
    ("size", "fps", "fits"),
    [((512, 512), 25, True), ((1280, 1280), 25, True), ((1280, 1280), 60, False), ((2560, 1440), 25, False)],
)
def test_the_codec_is_the_same_wherever_its_level_allows_that(size, fps, fits):
    assert fits_level(size, Fraction(fps)) is fits


def test_the_level_is_in_the_file():
    assert codec(written(moving(3), None)[0]) == "640028"
    large = np.zeros((2, 1600, 2304, 3), np.uint8)
    assert codec(written(large, None)[0]) > "640028"


def test_equal_inputs_give_equal_bytes():
    frames, speech = moving(40, 320, 256), Speech.from_samples(tone(16_000, 1.6)[0], 16_000)
    assert written(frames, speech)[0] == written(frames, speech)[0]


def test_a_plain_copy_has_the_same_packets_and_tags(tmp_path):
    content, _ = written(moving(50), Speech.from_samples(tone(16_000, 2.0)[0], 16_000))
    assert copy_plain(io.BytesIO(content), tmp_path / "plain.mp4") == 50
    found = []
    for file in (io.BytesIO(content), str(tmp_path / "plain.mp4")):
        with av.open(file) as container:
            assert {name: container.metadata[name] for name in TAGS} == TAGS
            found.append([(each.stream.type, each.pts, bytes(each)) for each in container.demux() if each.size])
    assert sorted(found[0]) == sorted(found[1])
    assert b"moof" not in (tmp_path / "plain.mp4").read_bytes()
