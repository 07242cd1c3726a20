"""Any recording becomes 16 kHz mono for the models and its own sound for the video, without being held in memory."""

import io
import struct
import tracemalloc
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media_shared import CLIPS
from PIL import Image
from recordings import tone, write_clip, write_sound

from kptalk.errors import AudioError, ImageError, InputError
from kptalk.media.audio import Speech
from kptalk.media.clip import probe
from kptalk.media.image import read_image


def mono(speech: Speech) -> np.ndarray:
    return np.concatenate(list(speech.chunks()))


def float_wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, rate * 4, 4, 32)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", len(data)) + data
    )  # fmt: skip
    return path


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 37800])
def test_resampling_is_exact_in_length_and_in_phase(tmp_path, rate):
    samples = tone(rate, 1.037)
    speech = Speech.open(float_wav(tmp_path / "a.wav", samples[0], rate))
    result = mono(speech)
    assert result.dtype == np.float32
    assert len(result) == ceil(samples.shape[1] * 16000 / rate)
    expected = tone(16000, 1.2)[0, : len(result)]
    assert np.abs(result - expected)[100:-100].max() < 1e-3
    assert abs(speech.duration_hint - Fraction(samples.shape[1], rate)) < Fraction(1, 1000)


@pytest.mark.parametrize(
    ("name", "codec", "layout", "rate"),
    [
        ("a.wav", "pcm_u8", "mono", 8000),
        ("a.wav", "pcm_s16le", "stereo", 44100),
        ("a.wav", "pcm_s24le", "stereo", 48000),
        ("a.wav", "pcm_s32le", "5.1", 48000),
        ("a.wav", "pcm_f64le", "mono", 16000),
        ("a.wav", "pcm_mulaw", "mono", 8000),
        ("a.mp3", None, "stereo", 44100),
        ("a.m4a", None, "stereo", 44100),
        ("a.flac", None, "stereo", 48000),
        ("a.ogg", None, "mono", 48000),
    ],
)
def test_formats(tmp_path, name, codec, layout, rate):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    speech = Speech.open(write_sound(tmp_path / name, tone(rate, 1.0, channels), rate, layout, codec))
    kept = {"5.1": "stereo"}.get(layout, layout)
    assert (speech.rate, speech.layout, speech.channels) == (rate, kept, min(channels, 2))
    result = mono(speech)
    assert abs(len(result) - 16000) <= 16 * 60  # lossy codecs fill their last frame
    level = np.mean([1 / (1 + index) for index in range(channels)])
    expected = level * tone(16000, 1.0)[0]
    lossy = codec is None and name != "a.flac"  # FFmpeg's AAC is far from exact on a sine
    assert np.abs(result[2000:14000] - expected[2000:14000]).mean() < (0.15 if lossy else 0.005)
    assert np.corrcoef(result[2000:14000], expected[2000:14000])[0, 1] > 0.95


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_video_as_speech(tmp_path, suffix):
    frames = np.zeros((25, 32, 32, 3), np.uint8)
    path = write_clip(tmp_path / f"My Clip é 🙂{suffix}", frames, Fraction(25), tone(44100, 1.0), 44100)
    assert abs(len(mono(Speech.open(path))) - 16000) < 800  # AAC's first and last frames


def test_chunks_join_to_the_same_whole_and_can_be_read_again(tmp_path):
    speech = Speech.from_samples(tone(44100, 1.3)[0], 44100)
    parts = list(speech.chunks(0.1))
    assert {len(part) for part in parts[:-1]} == {1600}
    np.testing.assert_array_equal(np.concatenate(parts), mono(speech))


def test_not_a_number_is_silence_and_loud_is_clipped(tmp_path):
    samples = np.full(16000, 7.0, np.float32)
    samples[4000:8000] = [np.nan, np.inf, -np.inf, np.nan] * 1000
    result = mono(Speech.open(float_wav(tmp_path / "a.wav", samples, 16000)))
    assert (result[:4000] == 1).all()
    assert (result[4000:8000] == 0).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float32, np.float64])
def test_samples_of_any_type(dtype):
    wave = tone(16000, 0.5)[0]
    kind = np.dtype(dtype)
    if kind.kind == "f":
        samples = wave.astype(dtype)
    else:
        half = 2.0 ** (8 * kind.itemsize - 1)
        samples = (wave * half + (half if kind.kind == "u" else 0)).astype(dtype)
    for rate in (16000, 16000.0, np.int64(16000)):
        np.testing.assert_allclose(mono(Speech.from_samples(samples, rate)), wave, atol=1 / 120)


def test_samples_with_huge_values_and_channels():
    samples = np.full((1000, 2), [1e300, 0])
    np.testing.assert_array_equal(mono(Speech.from_samples(samples, 16000)), np.full(1000, 0.5, np.float32))


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros(0), 16000),
        (np.zeros((0, 2)), 16000),
        (np.zeros((2, 1000)), 16000),
        (np.zeros((10, 2, 2)), 16000),
        (np.array(["a"]), 16000),
        (np.float32(0), 16000),
        (np.zeros(10), 0),
        (np.zeros(10), -16000),
        (np.zeros(10), np.nan),
        (np.zeros(10), "fast"),
        (np.zeros(10), None),
        (np.array([0, np.nan]), 16000),
        (np.array([0, np.inf]), 16000),
        (np.zeros(10, bool), 16000),
        (np.zeros(10, complex), 16000),
        (np.array([None]), 16000),
        ([[1.0], [1.0, 2.0]], 16000),
        ("speech.wav", 16000),
    ],
)
def test_samples_that_are_no_sound(samples, rate):
    with pytest.raises(AudioError):
        Speech.from_samples(samples, rate)


class Pipe(io.RawIOBase):
    """A binary stream that can only be read on, as that of another program."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._source.readinto(buffer)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a.mp3"])
def test_the_same_from_a_path_bytes_or_a_file(tmp_path, name):
    path = write_sound(tmp_path / name, tone(44100, 1.0), 44100)
    content = path.read_bytes()
    with path.open("rb") as file:
        sources = [content, bytearray(content), memoryview(content), io.BytesIO(content), file, Pipe(content)]
        speeches = [Speech.open(source) for source in sources]
    expected = mono(Speech.open(path))
    for speech in speeches:
        for _ in range(2):  # as often as one likes, also after the file is closed
            np.testing.assert_array_equal(mono(speech), expected)


def test_what_is_no_recording_is_said_in_one_line(tmp_path):
    with pytest.raises(AudioError, match="cannot be int: give a path, bytes or a binary file"):
        Speech.open(7)
    with pytest.raises(AudioError, match="open as text"):
        Speech.open(io.StringIO("text"))
    with pytest.raises(AudioError, match="the recording is empty"):
        Speech.open(b"")
    with pytest.raises(AudioError, match="the recording is not a recording that can be read"):
        Speech.open(b"text" * 1000)
    (tmp_path / "a.wav").write_bytes(b"text" * 1000)
    with (tmp_path / "a.wav").open("rb") as file, pytest.raises(AudioError, match=r"a\.wav is not a recording"):
        Speech.open(file)
    with pytest.raises(AudioError, match="cannot read"):
        Speech.open(file)  # it is closed


def test_a_playlist_in_memory_opens_no_file(tmp_path):
    write_sound(tmp_path / "a.aac", tone(44100, 1.0), 44100, codec="aac")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{tmp_path}/a.aac\n#EXT-X-ENDLIST\n"
    with pytest.raises(AudioError):
        Speech.open(playlist.encode())


@pytest.mark.parametrize(
    "address", ["https://example.org/a.wav", "HTTP://example.org", "rtsp://example.org/x", "s3://x"]
)
@pytest.mark.parametrize("kind", [str, Path])
def test_addresses_are_named(address, kind):
    for read, error in ((Speech.open, AudioError), (probe, InputError), (read_image, ImageError)):
        with pytest.raises(error, match=f"{address} is a URL: download it first"):
            read(kind(address))


def antiphase(rate: int, quieter: float = 1.0) -> np.ndarray:
    wave = tone(rate, 4.0)[0]
    return np.stack([wave, -quieter * wave], 1)


@pytest.mark.parametrize("quieter", [1.0, 0.95])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_that_cancel_give_way_to_the_loudest(rate, quieter):
    result = mono(Speech.from_samples(antiphase(rate, quieter), rate))
    np.testing.assert_allclose(result[500:-500], tone(16000, 4.0)[0][500:-500], atol=2e-3)


def test_channels_that_do_not_cancel_are_averaged():
    """Also two that have nothing in common, and one that is silent."""
    rng = np.random.default_rng(0)
    for second in (rng.normal(0, 0.1, 64000), np.zeros(64000)):
        samples = np.stack([rng.normal(0, 0.1, 64000), second], 1).astype(np.float32)
        np.testing.assert_array_equal(mono(Speech.from_samples(samples, 16000)), samples.T.mean(0).clip(-1, 1))


def test_the_loudest_channel_stays_the_same_where_both_are_as_loud():
    """Codecs make one or the other a bit louder; changing over would turn the wave over."""
    rng = np.random.default_rng(0)
    samples = antiphase(16000) * (1 + 0.01 * rng.standard_normal((4, 1, 2)).repeat(16000, 1).reshape(64000, 2))
    jumps = np.abs(np.diff(mono(Speech.from_samples(samples, 16000))))
    assert jumps.max() < 0.08  # of the tone's own 0.06


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_the_mix_does_not_depend_on_the_blocks(sizes):
    rng = np.random.default_rng(0)
    whole = rng.normal(0, 0.1, (2, 40000)).astype(np.float32)
    whole[1, 16000:] = -whole[0, 16000:]

    def mixed(cuts):
        return mono(Speech("x", lambda: iter(np.split(whole, cuts, axis=1)), 16000, "stereo", None))

    np.testing.assert_array_equal(mixed(np.minimum(np.cumsum(sizes), 40000)), mixed([]))


@settings(max_examples=40, deadline=None)
@given(rate=st.integers(1000, 200_000), count=st.integers(1, 5000))
def test_every_length_and_rate_gives_its_exact_share(rate, count):
    speech = Speech.from_samples(np.full(count, 0.25, np.float32), rate)
    assert len(mono(speech)) == ceil(count * 16000 / rate)
    assert sum(block.shape[1] for block in speech.sound(777)) == ceil(count * speech.rate / rate)


@pytest.mark.parametrize(
    ("rate", "channels", "kept"),
    [
        (8000, 1, (8000, "mono")),
        (44100, 2, (44100, "stereo")),
        (48000, 6, (48000, "stereo")),
        (96000, 1, (48000, "mono")),
        (192000, 1, (48000, "mono")),
        (37800, 2, (48000, "stereo")),
        (48000, 8, (48000, "mono")),
    ],
)
def test_sound_keeps_what_aac_can_carry(rate, channels, kept):
    speech = Speech.from_samples(tone(rate, 0.5, channels).T, rate)
    assert (speech.rate, speech.layout) == kept
    blocks = list(speech.sound(1024))
    assert {block.shape for block in blocks[:-1]} == {(speech.channels, 1024)}
    whole = np.concatenate(blocks, axis=1)
    assert whole.shape[1] == ceil(kept[0] / 2)
    if channels == speech.channels:
        np.testing.assert_allclose(whole[:, 500:-500], tone(kept[0], 0.5, channels)[:, 500:-500], atol=1e-3)


@pytest.mark.parametrize("codec", ["aac", "flac", "libopus"])
def test_seven_one_is_reduced(tmp_path, codec):
    path = write_sound(tmp_path / "a.mkv", tone(48000, 0.5, 8), 48000, "7.1", codec)
    speech = Speech.open(path)
    assert speech.layout == "stereo"
    assert sum(block.shape[1] for block in speech.sound(1024)) == pytest.approx(24000, abs=4100)
    level = np.abs(mono(speech)[2000:6000]).max()
    assert level == pytest.approx(0.5 * np.mean(1 / np.arange(1, 9)), rel=0.2)


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        Speech.open(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_files_without_sound(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.wav")
    assert "folder" in refused(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "empty" in refused(tmp_path / "empty.wav")
    for name in ("text.wav", "text.txt", "text.mp3", "text.m4a"):
        (tmp_path / name).write_text("this is not a recording\n" * 100)
        refused(tmp_path / name)
    assert "no sound" in refused(write_clip(tmp_path / "silent.mp4", np.zeros((5, 32, 32, 3), np.uint8), Fraction(25)))
    refused(float_wav(tmp_path / "nothing.wav", np.zeros(0, np.float32), 16000))
    refused(float_wav(tmp_path / "rate.wav", np.zeros(100, np.float32), 5))
    path = write_sound(tmp_path / "headless.m4a", tone(44100, 1.0), 44100)
    path.write_bytes(path.read_bytes()[:3000])
    refused(path)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.m4a", "a.ogg"])
def test_damage_in_the_middle_is_skipped(tmp_path, name):
    rate = 48000
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 3 * rate)).astype(np.float32)
    path = write_sound(tmp_path / name, noise, rate)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = np.random.default_rng(1).bytes(600)
    path.write_bytes(data)
    result = mono(Speech.open(path))
    assert 1.9 * 16000 < len(result) < 3.2 * 16000  # an Ogg page is a second
    assert np.abs(result).max() <= 1


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.wav", "a.ogg"])
def test_truncated_recording_plays_to_where_it_ends(tmp_path, name):
    path = write_sound(tmp_path / name, tone(48000, 3.0), 48000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0.9 * 16000 < len(mono(Speech.open(path))) < 2.0 * 16000


def test_rate_that_changes_within_the_file(tmp_path):
    first = write_sound(tmp_path / "a.ogg", tone(48000, 1.0), 48000, codec="flac").read_bytes()
    second = write_sound(tmp_path / "b.ogg", tone(24000, 1.0, 2), 24000, "stereo", codec="flac").read_bytes()
    path = tmp_path / "chained.ogg"
    path.write_bytes(first + second)
    speech = Speech.open(path)
    assert speech.rate == 48000
    assert abs(len(mono(speech)) - 32000) < 1600


def test_file_that_vanishes_between_passes(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(16000, 1.0), 16000)
    speech = Speech.open(path)
    path.unlink()
    with pytest.raises(AudioError):
        next(speech.chunks())


@pytest.mark.slow
def test_memory_does_not_grow_with_length(tmp_path):
    def peak(minutes: int) -> int:
        path = tmp_path / f"{minutes}.wav"
        path.write_bytes(float_wav(path, np.zeros(1, np.float32), 8000).read_bytes())
        float_wav(path, np.zeros(minutes * 60 * 8000, np.float32), 8000)
        tracemalloc.start()
        speech = Speech.open(path)
        assert sum(len(chunk) for chunk in speech.chunks()) == minutes * 60 * 16000
        assert sum(block.shape[1] for block in speech.sound(1024)) == minutes * 60 * 8000
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    assert peak(10) < peak(1) + 2_000_000  # the recording itself is 19 MB as float32


def test_real_speech():
    for path in [*sorted(CLIPS.glob("*.mp4"))[:4], CLIPS.parents[2] / "examples" / "speech.mp3"]:
        speech = Speech.open(path)
        result = mono(speech)
        assert abs(len(result) / 16000 - float(speech.duration_hint)) < 0.01
        assert result.std() > 0.001


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_picture_for_a_recording_asks_whether_they_are_swapped(tmp_path, suffix):
    path = tmp_path / f"speech{suffix}"
    Image.fromarray(np.full((32, 32, 3), 9, np.uint8)).save(path)
    with pytest.raises(AudioError, match="is a picture, not a recording: are portrait and speech swapped"):
        Speech.open(path)
