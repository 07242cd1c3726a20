"""Video files come as frames at a constant rate, whatever their own."""

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media_shared import CLIPS
from recordings import tone, write_clip, write_sound

from kptalk.errors import InputError
from kptalk.media.clip import probe, read_frames


def shades(count: int) -> np.ndarray:
    """(T, 32, 32, 3): frame k has brightness 4 k."""
    return np.broadcast_to((4 * np.arange(count, dtype=np.uint8))[:, None, None, None], (count, 32, 32, 3)).copy()


def indices(path: Path, *args: object) -> list[int]:
    return [round(float(frame.mean()) / 4) for frame in read_frames(path, *args)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)])
def test_own_rate_gives_each_frame_once(tmp_path, suffix, fps):
    path = write_clip(tmp_path / f"My Clip é 🙂{suffix}", shades(60), fps)
    assert indices(path) == list(range(60))
    clip = probe(path)
    assert abs(clip.fps - fps) < Fraction(1, 100)
    assert clip.size == (32, 32)
    assert abs(clip.duration - 60 / fps) < Fraction(1, 25)


@pytest.mark.parametrize("fps", [Fraction(5), Fraction(24), Fraction(25), Fraction(30), Fraction(60)])
def test_other_rates_take_the_nearest_frame(tmp_path, fps):
    path = write_clip(tmp_path / "a.mp4", shades(50), Fraction(25))
    found = indices(path, fps)
    assert len(found) == 2 * fps
    for k, index in enumerate(found):
        assert abs(index - k * 25 / fps) <= Fraction(1, 2) or index == 49


def test_part_of_a_clip(tmp_path):
    path = write_clip(tmp_path / "a.mp4", shades(60), Fraction(25))
    assert indices(path, None, Fraction(31, 25), Fraction(35, 25)) == [31, 32, 33, 34]
    assert indices(path, None, 1.0) == list(range(25, 60))
    assert indices(path, None, 0, 0.2) == list(range(5))
    assert indices(path, Fraction(5), 1, 2) == [25, 30, 35, 40, 45]
    assert indices(path, None, 99) == []


def test_phone_video_is_turned_upright(tmp_path):
    frames = np.zeros((5, 32, 64, 3), np.uint8)
    frames[:, :, :32] = 200
    path = write_clip(tmp_path / "a.mp4", frames, Fraction(25))
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # in a track header of version 0
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)
    path.write_bytes(data)
    assert probe(path).size == (32, 64)
    upright = next(read_frames(path))
    assert upright[:28].mean() > 190  # a quarter turn clockwise: left becomes top
    assert upright[36:].mean() < 10


def test_truncated_clip_plays_to_where_it_ends(tmp_path):
    path = write_clip(
        tmp_path / "a.mkv", np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8), Fraction(25)
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 20 < len(list(read_frames(path))) < 40


def test_damage_in_the_middle_is_skipped(tmp_path):
    path = write_clip(
        tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), np.uint8), Fraction(25)
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(data)
    assert abs(len(list(read_frames(path))) - 60) <= 1


def test_files_without_pictures(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    (tmp_path / "text.txt").write_text("no video\n" * 100)
    write_sound(tmp_path / "sound.wav", tone(16000, 0.2), 16000)
    for name in ("absent.mp4", "empty.mp4", "text.mp4", "text.txt", "sound.wav", "."):
        for attempt in (probe, lambda path: next(read_frames(path))):
            with pytest.raises(InputError) as caught:
                attempt(tmp_path / name)
            assert "\n" not in str(caught.value)
            assert str(tmp_path / name) in str(caught.value)


def test_real_clips():
    for path in sorted(CLIPS.glob("*.mp4"))[:3]:
        clip = probe(path)
        frames = list(read_frames(path, None, 1, 2))
        assert len(frames) in (int(clip.fps), int(clip.fps) + 1)
        assert frames[0].shape == (clip.size[1], clip.size[0], 3)
