"""What a recording may be: nothing that makes FFmpeg open another file."""

import errno
import os

import av
import numpy as np
import pytest
from recordings import tone, write_clip, write_sound

from kptalk.errors import AudioError, InputError
from kptalk.media.audio import Speech
from kptalk.media.clip import probe, read_frames
from kptalk.media.container import packets

LISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    "upload": "ffconcat version 1.0\nfile secret.wav\n",
    "speech.wav": "ffconcat version 1.0\nfile secret.wav\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="9">'
    "<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
}


@pytest.fixture
def secrets(tmp_path):
    """A folder with recordings that a list names."""
    write_sound(tmp_path / "secret.wav", tone(16_000, 1.0), 16_000)
    frames = np.zeros((10, 32, 32, 3), np.uint8)
    write_clip(tmp_path / "secret.mp4", frames, 25, tone(16_000, 0.4), 16_000)
    return tmp_path


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_other_files_opens_none_of_them(secrets, name):
    path = secrets / name
    path.write_text(LISTS[name])
    for recording in (path, path.read_bytes()):
        with pytest.raises(AudioError, match="is not a recording that can be read"):
            Speech.open(recording)
    with pytest.raises(InputError):
        probe(path)


def test_numbered_pictures_are_no_video(secrets):
    (secrets / "frame%d.png").write_bytes(b"x")
    with pytest.raises(InputError):
        next(read_frames(secrets / "frame%d.png"))


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a", ".flac", ".ogg", ".mp4", ".aiff", ".mka", ".webm", ".avi"])
def test_recordings_can_be_read_whatever_their_name(tmp_path, suffix):
    codec = {".aiff": "pcm_s16be", ".mka": "libopus", ".webm": "libopus", ".avi": "pcm_s16le"}.get(suffix)
    written = write_sound(tmp_path / f"a{suffix}", tone(48_000, 0.5), 48_000, codec=codec)
    bare = written.rename(tmp_path / "upload")
    for recording in (bare, bare.read_bytes()):
        assert 0.4 < sum(len(chunk) for chunk in Speech.open(recording).chunks()) / 16_000 < 0.7


def test_frames_larger_than_the_memory_are_refused_before_they_are_decoded(secrets, monkeypatch):
    monkeypatch.setattr("kptalk.media.container.MOST_PIXELS", 32 * 32)
    assert probe(secrets / "secret.mp4").size == (32, 32)
    monkeypatch.setattr("kptalk.media.container.MOST_PIXELS", 32 * 32 - 1)
    with pytest.raises(InputError, match="has frames of 32x32 pixels: scale it down first"):
        probe(secrets / "secret.mp4")
    assert Speech.open(secrets / "secret.mp4").rate == 16_000  # of its sound nothing is too large


class Failing:
    """A recording of which a packet can be read, then no more."""

    def __init__(self, path, number):
        self.name, self.number = f"file:{path}", number

    def demux(self, _):
        yield av.Packet(b"x")
        raise OSError(self.number, os.strerror(self.number))  # as FFmpeg's errors are


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN])
def test_a_server_that_is_gone_does_not_pass_for_the_end_of_a_recording(tmp_path, number):
    (tmp_path / "a.wav").write_bytes(b"x")
    found = packets(Failing(tmp_path / "a.wav", number), None)
    next(found)
    with pytest.raises(InputError, match=rf"cannot read {tmp_path / 'a.wav'}: {os.strerror(number)}"):
        next(found)


def test_an_input_error_is_the_disk_s_where_the_file_cannot_be_read_otherwise(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"x")
    assert list(packets(Failing(tmp_path / "a.wav", errno.EIO), None))[1:] == [None]  # it is damaged
    assert list(packets(Failing("<none>", errno.EIO), None))[1:] == [None]
    with pytest.raises(InputError, match=r"cannot read .*: Input/output error"):  # a folder cannot be read either
        list(packets(Failing(tmp_path, errno.EIO), None))
