"""Text becomes speech by somebody else's program or server, and whatever these do wrong is one clear error."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from skimage import data
from voices import PER_CHARACTER, program, voice_server

import kptalk
from kptalk.errors import AudioError, OptionError
from kptalk.media import tts


def seconds_of(speech):
    return sum(len(chunk) for chunk in speech.chunks()) / 16_000


def test_a_command_writes_a_file(tmp_path):
    notes = tmp_path / "notes.json"
    text = "Grüße; $(touch owned) `id` {wav}"
    engine = f"{program(tmp_path)} {{wav}} '{notes}' {{text}} --voice={{voice}}"
    speech = kptalk.speak(text, engine, "anna b")
    assert seconds_of(speech) == pytest.approx(PER_CHARACTER * len(text), abs=0.01)
    said, wav, _, file, voice = json.loads(notes.read_text())
    assert (said, voice) == (text, "--voice=anna b")
    assert not os.path.exists(wav)  # nothing is left of it
    assert not os.path.exists(file)


def test_a_command_writes_to_standard_output(tmp_path):
    speech = kptalk.speak("Hello", f"{program(tmp_path)} -")
    assert seconds_of(speech) == pytest.approx(5 * PER_CHARACTER, abs=0.01)
    assert speech.rate == 22_050


def test_a_name_stands_for_a_command(tmp_path, monkeypatch):
    """``espeak-ng`` is what the search path says it is."""
    for name in ("espeak-ng", "flite"):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\nexec {program(tmp_path)} "$6" {tmp_path}/{name}.json "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert tts.installed_engine() == "flite"
    kptalk.speak("Hello")
    words = json.loads((tmp_path / "flite.json").read_text())
    assert words[3:7] == ["-voice", "slt", "-f", words[6]]
    kptalk.speak("Hello", "espeak-ng", "de")
    assert json.loads((tmp_path / "espeak-ng.json").read_text())[3:5] == ["-v", "de"]


def test_without_any_voice(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OptionError, match="no voice is installed: install espeak-ng or flite"):
        kptalk.speak("Hello")


def test_a_server(tmp_path):
    with voice_server() as (url, asked):
        speech = kptalk.speak("Hello there", f"{url}?model=kokoro", "af_sky", key="secret")
        kptalk.speak("Hello there", url)
    assert seconds_of(speech) == pytest.approx(11 * PER_CHARACTER, abs=0.01)
    (headers, first), (plain, second) = asked
    assert first == {"model": "kokoro", "input": "Hello there", "voice": "af_sky", "response_format": "wav"}
    assert headers["Authorization"] == "Bearer secret"
    assert (second["model"], second["voice"], plain["Authorization"]) == ("tts-1", "alloy", None)


BAD_SERVERS = {
    "an error": (500, b'{"error": {"message": "no such voice"}}', "answered 500: 'no such voice'"),
    "text": (404, b"nothing here", "answered 404: 'nothing here'"),
    "no sound": (200, b"<html>hello</html>", "gave no recording"),
    "nothing": (200, b"", "gave no recording"),
}


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_server_that_fails(kind):
    status, body, words = BAD_SERVERS[kind]
    with voice_server(status, body) as (url, _), pytest.raises(AudioError, match=words):
        kptalk.speak("Hello", url)


def test_no_server_there():
    with pytest.raises(AudioError, match=r"cannot reach 127\.0\.0\.1:9: "):
        kptalk.speak("Hello", "http://127.0.0.1:9/v1/audio/speech")


BAD_PROGRAMS = {
    "fails": ("import sys; print('first'); sys.exit('no model anna.onnx')", "code 1: 'no model anna.onnx'"),
    "writes nothing": ("", "wrote no sound"),
    "writes noise": ("print('hello')", "gave no recording"),
    "never ends": ("import time; time.sleep(60)", "took more than 0.5 s"),
    "never stops writing": ("import sys\nwhile True: sys.stdout.write('x' * 100_000)", "writes more than 1 MB"),
}


@pytest.mark.parametrize("kind", BAD_PROGRAMS)
def test_a_program_that_fails(kind, tmp_path, monkeypatch):
    source, words = BAD_PROGRAMS[kind]
    monkeypatch.setattr(tts, "MOST_BYTES", 1_000_000)
    started = time.monotonic()
    with pytest.raises(AudioError, match=words):
        kptalk.speak("Hello", program(tmp_path, source), seconds=0.5 if "ends" in kind else 20)
    assert time.monotonic() - started < 15


def test_what_a_stopped_program_started_ends_too(tmp_path):
    child = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
    source = f"import os, subprocess, sys, time\nos.fork() or {child}\ntime.sleep(60)"
    with pytest.raises(AudioError, match="took more"):
        kptalk.speak("Hello", program(tmp_path, source), seconds=2)
    stat, until = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat"), time.monotonic() + 5
    while running(stat) and time.monotonic() < until:
        time.sleep(0.05)
    assert not running(stat)


def running(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


BAD_ENGINES = {
    "": "give a program",
    "   ": "give a program",
    "say '": "quotation mark",
    "{text} {wav}": "give a program",
    "python3 {file}": r"tts names \{file\}",
    "nosuchprogram {wav}": "no program nosuchprogram",
    "python3 {voice} {wav}": "needs a name",
}


@pytest.mark.parametrize("engine", BAD_ENGINES)
def test_an_engine_that_is_none(engine):
    with pytest.raises(OptionError, match=BAD_ENGINES[engine]):
        kptalk.speak("Hello", engine)


def test_a_voice_is_no_option(tmp_path):
    for voice in ("-f/etc/passwd", "", "a\nb"):
        with pytest.raises(OptionError, match="voice is"):
            kptalk.speak("Hello", f"{program(tmp_path)} {{wav}} {{voice}}", voice)
    with pytest.raises(OptionError, match=r"has no \{voice\}"):
        kptalk.speak("Hello", f"{program(tmp_path)} -", "anna")


@pytest.mark.parametrize(("text", "words"), [("", "no text"), (" \n", "no text"), ("x" * 20_001, "20001 characters")])
def test_a_text_that_cannot_be_said(text, words):
    with pytest.raises(AudioError, match=words):
        kptalk.speak(text, "python3 -")


def test_the_speech_drives_a_video(tmp_path):
    speech = kptalk.speak("Hello, everybody.", f"{program(tmp_path)} -")
    frames = list(kptalk.animate(data.astronaut(), speech, framing="crop", size=64))
    assert len(frames) == np.ceil(17 * PER_CHARACTER * 25)
