"""The sound of a finished video: the recording's own packets where MP4 can hold them, otherwise AAC as good as it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from recordings import read_sound, tone, write_sound

from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink


def video_of(speech: Speech, path: Path, count: int, fps: Fraction = Fraction(25)) -> Path:
    with VideoWriter(FileSink(path), fps, (64, 48), speech) as writer:
        for k in range(count):
            writer.write(np.full((1, 48, 64, 3), 20 + k % 200, np.uint8))
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(f"file:{path}") as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def noise(rate: int, seconds: float, channels: int = 1) -> np.ndarray:
    """(C, N) float32 in which every instant can be told from every other, softly at the start."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((channels, round(rate * seconds)))
    return np.asarray(np.cumsum(samples, 1) - np.cumsum(np.cumsum(samples, 1), 1) / 1e9, np.float32).clip(-0.9, 0.9)


FILES = [
    ("a.m4a", "aac", 44100, "stereo"),
    ("a.mov", "aac", 48000, "mono"),
    ("a.aac", "aac", 16000, "mono"),
    ("a.mkv", "aac", 32000, "stereo"),
    ("a.flv", "aac", 44100, "stereo"),
    ("a.m4a", "aac", 48000, "5.1"),
    ("a.mp3", "libmp3lame", 44100, "stereo"),
    ("a.mp3", "libmp3lame", 16000, "mono"),
    ("a.mp4", "libmp3lame", 44100, "mono"),
    ("a.mov", "libmp3lame", 44100, "stereo"),
    ("a.flv", "libmp3lame", 44100, "stereo"),
    ("a.mkv", "libmp3lame", 24000, "stereo"),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), FILES)
def test_aac_and_mp3_are_copied_in_time(tmp_path, name, codec, rate, layout):
    """Packet for packet, and every sample where the speech has it; the partial file holds the same."""
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    source = write_sound(tmp_path / name, noise(rate, 2.0, channels), rate, layout, codec)
    speech = Speech.open(source)
    heard = np.concatenate(list(speech.chunks()))
    path = video_of(speech, tmp_path / "out.mp4", 52)
    own, copied = packets(source), packets(path)
    if name == "a.aac":
        own = [packet[7:] for packet in own]  # without the header of each
    assert copied == own
    again = np.concatenate(list(Speech.open(path).chunks()))
    n = len(heard) - 1200  # the last packet may end with padding that was cut before
    np.testing.assert_allclose(again[:n], heard[:n], atol=2e-3)
    assert read_sound(path)[1:] == (rate, layout)


def test_the_sound_is_cut_with_the_pictures(tmp_path):
    source = write_sound(tmp_path / "a.m4a", noise(44100, 4.0), 44100)
    path = video_of(Speech.open(source), tmp_path / "out.mp4", 37)
    own, copied = packets(source), packets(path)
    assert copied == own[: len(copied)]
    with av.open(str(path)) as container:
        lengths = {stream.type: stream.duration * stream.time_base for stream in container.streams}
    assert lengths["video"] == Fraction(37, 25)
    assert abs(lengths["audio"] - lengths["video"]) < Fraction(1, 1000)


def test_sound_that_begins_late_begins_with_the_video(tmp_path):
    """As the speech does, from which the motion is made."""
    samples = noise(48000, 1.5)
    early = write_sound(tmp_path / "early.m4a", samples, 48000)
    late = tmp_path / "late.mp4"
    with av.open(str(early)) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.pts = packet.dts = packet.pts + 45_000
                packet.stream = stream
                target.mux(packet)
    expected = np.concatenate(list(Speech.open(late).chunks()))
    assert len(expected) < 1.55 * 16_000
    path = video_of(Speech.open(late), tmp_path / "out.mp4", 40)
    again = np.concatenate(list(Speech.open(path).chunks()))
    np.testing.assert_allclose(again[100:20_000], expected[100:20_000], atol=2e-3)
    assert packets(path) == packets(early)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "kept"),
    [
        ("a.flac", "flac", 44100, "stereo", (44100, "stereo")),
        ("a.wav", "pcm_s16le", 44100, "stereo", (44100, "stereo")),
        ("a.wav", "pcm_s16le", 16000, "mono", (16000, "mono")),
        ("a.wav", "pcm_s24le", 192000, "stereo", (48000, "stereo")),
        ("a.wav", "pcm_s16le", 48000, "5.1", (48000, "stereo")),
        ("a.ogg", "libopus", 48000, "mono", (48000, "mono")),
        ("a.ts", "aac", 44100, "stereo", (44100, "stereo")),
        ("a.mp3", "libmp3lame", 11025, "mono", (11025, "mono")),
    ],
)
def test_other_sound_becomes_aac_at_its_own_rate(tmp_path, name, codec, rate, layout, kept):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    loud = np.random.default_rng(0).normal(0, 0.2, (channels, 3 * rate)).astype(np.float32)
    path = video_of(Speech.open(write_sound(tmp_path / name, loud, rate, layout, codec)), tmp_path / "out.mp4", 75)
    assert read_sound(path)[1:] == kept
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == "aac"
        per_channel = sum(len(packet) for packet in packets(path)) * 8 / 3 / stream.channels
        assert per_channel > 0.85 * min(96_000, 5 * kept[0])


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a"])
def test_damaged_packets_are_not_copied(tmp_path, name):
    path = write_sound(tmp_path / name, noise(44100, 3.0), 44100)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        middle = [packet.pos for packet in container.demux(audio=0) if packet.size][60]
    data[middle : middle + 900] = np.random.default_rng(1).bytes(900)
    path.write_bytes(data)
    speech = Speech.open(path)
    heard = np.concatenate(list(speech.chunks()))
    out = video_of(speech, tmp_path / "out.mp4", len(heard) // 640)
    again = np.concatenate(list(Speech.open(out).chunks()))
    n = min(len(heard), len(again)) - 2000
    assert np.corrcoef(heard[:n], again[:n])[0, 1] > 0.95
    assert packets(out)[40:80] != packets(path)[40:80]


def test_sound_that_changes_in_the_middle_is_encoded_anew(tmp_path):
    first = write_sound(tmp_path / "a.aac", tone(44100, 1.0, 2), 44100, "stereo", "aac").read_bytes()
    second = write_sound(tmp_path / "b.aac", tone(22050, 1.0), 22050, "mono", "aac").read_bytes()
    out = video_of(Speech.open(first + second), tmp_path / "out.mp4", 50)
    samples, rate, layout = read_sound(out)
    assert (rate, layout) == (44100, "stereo")
    assert np.abs(samples[0, 60_000:80_000]).max() > 0.3


def test_copied_sound_gives_equal_bytes(tmp_path):
    source = write_sound(tmp_path / "a.mp3", noise(44100, 1.0), 44100)
    one, two = (video_of(Speech.open(source), tmp_path / name, 25) for name in ("one.mp4", "two.mp4"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["a.m4a", "a.mp3"])
def test_the_partial_file_has_the_copied_sound_too(tmp_path, name):
    source = write_sound(tmp_path / name, noise(44100, 3.0), 44100)
    writer = VideoWriter(FileSink(tmp_path / "out.mp4"), Fraction(25), (64, 48), Speech.open(source))
    writer.write(np.full((60, 48, 64, 3), 90, np.uint8))
    writer.__exit__(RuntimeError, RuntimeError(), None)
    copied = packets(tmp_path / ".out.partial.mp4")
    assert copied == packets(source)[: len(copied)]
    assert len(copied) > 85
