"""``kptalk animate --text``: a text in the place of the recording."""

import pytest
from commands import refused
from PIL import Image
from skimage import data
from voices import program, voice_server

from kptalk.media.clip import probe


@pytest.fixture
def animate(kptalk, tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "face.png")

    def run(*words):
        picture = ("--framing", "crop", "--size", "64")
        return kptalk("animate", tmp_path / "face.png", *words, "-o", tmp_path / "out.mp4", *picture)

    return run


def test_a_text(animate, tmp_path):
    code, out, err = animate("--text", "Hello there", "--tts", f"{program(tmp_path)} {{wav}}")
    assert (code, err) == (0, "")
    assert str(tmp_path / "out.mp4") in out
    assert probe(tmp_path / "out.mp4").has_audio


def test_a_file_and_a_server(animate, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("\ufeffGrüße an alle", encoding="utf-8")
    monkeypatch.setenv("KPTALK_TTS_KEY", "secret")
    with voice_server() as (url, asked):
        assert animate("--text-file", tmp_path / "text.txt", "--tts", url, "--voice", "anna")[0] == 0
    ((headers, wanted),) = asked
    assert (wanted["input"], wanted["voice"], headers["Authorization"]) == ("Grüße an alle", "anna", "Bearer secret")


BAD = {
    "nothing to say": ((), ["SPEECH, --text and --text-file"]),
    "two things": (("speech.wav", "--text", "Hello"), ["SPEECH, --text and --text-file"]),
    "a voice for a recording": (("speech.wav", "--voice", "anna"), ["--voice"]),
    "no text": (("--text", " ", "--tts", "python3 -"), ["no text"]),
    "no program": (("--text", "Hello", "--tts", "nosuchprogram"), ["--tts is", "no program nosuchprogram"]),
    "no voice": (("--text", "Hello", "--tts", "python3 {voice}"), ["--voice"]),
    "no file": (("--text-file", "absent.txt"), ["absent.txt", "No such file"]),
    "a failing program": (
        ("--text", "Hello", "--tts", "python3 -c 'raise ValueError(7)'"),
        ["code 1", "ValueError: 7"],
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_said(animate, tmp_path, kind):
    words, expected = BAD[kind]
    assert refused(animate(*words), *expected)
    assert not (tmp_path / "out.mp4").exists()


def test_no_text_file(animate, tmp_path):
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    assert refused(animate("--text-file", tmp_path / "latin.txt"), "latin.txt is not UTF-8 text")
