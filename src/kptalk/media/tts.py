"""Text to speech by a program or a server of the user's choice; kptalk has no voice of its own.

An engine is one of

* the name of a program in ``ENGINES``, which is found on the system's search path;
* a command, such as ``piper -m en_US-joe-medium.onnx -f {wav}``. It is split into words as a shell would, but no shell
  runs it. ``{wav}`` is where the WAV file is expected, otherwise standard output; ``{text}`` is a file with the text,
  which standard input has too; ``{voice}`` is the voice;
* the address of a server that speaks OpenAI's protocol, ``http://localhost:8880/v1/audio/speech?model=kokoro``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPException
from os import PathLike
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from kptalk.errors import AudioError, OptionError
from kptalk.files import check_readable, explain
from kptalk.media.audio import Speech
from kptalk.scratch import scratch_folder
from kptalk.validation import shown

ENGINES = {  # programs that bring voices with them: their command and their usual voice, the better one last
    "espeak-ng": ("espeak-ng -v {voice} -f {text} -w {wav}", "en"),
    "flite": ("flite -voice {voice} -f {text} -o {wav}", "slt"),
}
PLACES = ("text", "wav", "voice")  # what a command may name in braces
SECONDS = 120.0  # that an engine may take
MOST_TEXT, MOST_BYTES = 20_000, 200_000_000  # characters, bytes of sound
MOST_TEXT_BYTES = 1_000_000  # of a text file
SERVER_VOICE, SERVER_MODEL = "alloy", "tts-1"
VOICE = re.compile(r"[^\s\x00-\x1f-][^\x00-\x1f]{0,200}")
POLL = 0.02  # seconds


def speak(
    text: str, engine: str | None = None, voice: str | None = None, *, seconds: float = SECONDS, key: str | None = None
) -> Speech:
    """Let an engine say a text.

    Args:
        text: what is said, at most 20,000 characters.
        engine: a program's name, a command or an address, see above; None for the first program of ``ENGINES`` that
            is installed.
        voice: whose voice, by the engine's name of it; None for its usual one.
        seconds: how long the engine may take.
        key: of the server, sent as a bearer token.

    Raises:
        OptionError: the engine or the voice is none.
        AudioError: there is no text, too much of it, or the engine fails.
    """
    if not isinstance(text, str) or not text.strip():
        raise AudioError("there is no text to say")
    if len(text) > MOST_TEXT:
        raise AudioError(f"the text has {len(text)} characters, at most {MOST_TEXT} are said at once: split it")
    if voice is not None and not VOICE.fullmatch(voice):
        raise OptionError(f"voice is {shown(voice)}: give the engine's name of a voice")
    engine = installed_engine() if engine is None else engine
    if is_address(engine):
        content, name = _from_server(text, engine, voice, seconds, key), urlsplit(engine).netloc
    else:
        words = command_of(engine, voice)
        content, name = _from_command(text, words, seconds), Path(words[0]).name
    try:
        return Speech.open(content)
    except AudioError as error:
        raise AudioError(f"{name} gave no recording: {error}") from error


def read_text(path: str | PathLike[str]) -> str:
    """The text of a file in UTF-8.

    Raises:
        AudioError: it cannot be read, or is no text to say.
    """
    path = Path(path)
    check_readable(path, "a text", AudioError)
    try:
        if path.stat().st_size > MOST_TEXT_BYTES:
            raise AudioError(f"{path} is no text to say: it has more than {MOST_TEXT_BYTES // 1000} kB")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AudioError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise AudioError(f"cannot open {path}: {explain(error)}") from error


def installed_engine() -> str:
    """The first program of ``ENGINES`` on the system's search path.

    Raises:
        OptionError: there is none.
    """
    found = [name for name in reversed(ENGINES) if shutil.which(name)]
    if not found:
        raise OptionError(
            f"no voice is installed: install {' or '.join(ENGINES)}, or name another engine", option="tts"
        )
    return found[0]


def is_address(engine: str) -> bool:
    """Whether an engine is a server."""
    return engine.lower().startswith(("http://", "https://"))


def check_engine(engine: str, voice: str | None = None) -> None:
    """Find out what cannot be before any work.

    Raises:
        OptionError: a command is malformed, or its program is not there.
    """
    if not is_address(engine):
        command_of(engine, voice)


def command_of(engine: str, voice: str | None) -> list[str]:
    """The words of an engine's command; ``{wav}`` and ``{text}`` are still in them.

    Raises:
        OptionError: it is malformed, or its program is not there.
    """
    template, usual = ENGINES.get(engine, (engine, None))
    try:
        words = shlex.split(template, posix=sys.platform != "win32")
    except ValueError as error:
        raise OptionError(f"tts is {shown(engine)}: a quotation mark is not closed") from error
    if not words or "{" in words[0]:
        raise OptionError(f"tts is {shown(engine)}: give a program, a command or an http address")
    named = set(re.findall(r"\{(\w*)\}", template))
    if unknown := named - set(PLACES):
        raise OptionError(f"tts names {{{min(unknown)}}}: a command has {{text}}, {{wav}} and {{voice}}")
    voice = voice or usual
    if "voice" in named and voice is None:
        raise OptionError(f"tts is {shown(engine)}: its {{voice}} needs a name", option="voice")
    if voice is not None and "voice" not in named:
        raise OptionError(f"tts is {shown(engine)}: it has no {{voice}} for {shown(voice)}")
    program = shutil.which(words[0])
    if program is None:
        raise OptionError(f"tts is {shown(engine)}: there is no program {words[0]}")
    return [program, *(word.replace("{voice}", voice or "") for word in words[1:])]


def _from_command(text: str, words: list[str], seconds: float) -> bytes:
    """What a program makes of a text; its output goes into files, so that none of it can fill the memory."""
    with scratch_folder() as folder:
        source, wave, printed, errors = (folder / each for each in ("text.txt", "speech.wav", "printed", "errors"))
        source.write_text(text, encoding="utf-8", errors="replace")
        places = {"{text}": str(source), "{wav}": str(wave)}
        argv = [re.sub(r"\{(text|wav)\}", lambda place: places[place[0]], word) for word in words]
        program, outputs = Path(words[0]).name, (wave, printed, errors)
        with source.open("rb") as given, printed.open("wb") as out, errors.open("wb") as told:
            try:
                process = subprocess.Popen(
                    argv, stdin=given, stdout=out, stderr=told, cwd=folder, start_new_session=True
                )
            except OSError as error:
                raise AudioError(f"cannot run {program}: {explain(error)}") from error
            try:
                _wait(process, program, outputs, seconds)
            finally:
                _end(process)
        if process.returncode:
            said = errors.read_bytes()[-2000:].decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "it says nothing")
            raise AudioError(f"{program} failed with code {process.returncode}: {shown(last)}")
        result = wave if any("{wav}" in word for word in words) else printed
        if not result.is_file() or not result.stat().st_size:
            raise AudioError(f"{program} wrote no sound; a command names {{wav}}, or writes to standard output")
        return result.read_bytes()


def _wait(process: subprocess.Popen[bytes], program: str, outputs: tuple[Path, ...], seconds: float) -> None:
    """Wait for a program's end; raises AudioError where it takes too long or writes too much."""
    until = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > until:
            raise AudioError(f"{program} took more than {seconds:g} s: give a shorter text")
        _check_size(program, outputs)
        time.sleep(POLL)
    _check_size(program, outputs)


def _check_size(program: str, outputs: tuple[Path, ...]) -> None:
    if any(path.is_file() and path.stat().st_size > MOST_BYTES for path in outputs):
        raise AudioError(f"{program} writes more than {MOST_BYTES // 1_000_000} MB")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started, where it still runs."""
    if process.poll() is None:
        if sys.platform == "win32":
            process.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _from_server(text: str, address: str, voice: str | None, seconds: float, key: str | None) -> bytes:
    """What a server with OpenAI's protocol makes of a text; ``model`` in the address' query is its model."""
    parts = urlsplit(address)
    host, query = parts.netloc.rpartition("@")[2], parse_qs(parts.query)
    model = query.get("model", [SERVER_MODEL])[0]
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    wanted = {"model": model, "input": text, "voice": voice or SERVER_VOICE, "response_format": "wav"}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    until, content = time.monotonic() + seconds, bytearray()
    try:
        request = Request(url, json.dumps(wanted).encode(), headers, method="POST")
        with urlopen(request, timeout=seconds) as answer:
            while block := answer.read(1 << 16):
                content += block
                if len(content) > MOST_BYTES:
                    raise AudioError(f"{host} writes more than {MOST_BYTES // 1_000_000} MB")
                if time.monotonic() > until:
                    raise TimeoutError
    except HTTPError as error:
        with error:
            raise AudioError(f"{host} answered {error.code}: {_message(error)}") from error
    except (TimeoutError, URLError) as error:
        if isinstance(error, TimeoutError) or isinstance(error.reason, TimeoutError):
            raise AudioError(f"{host} took more than {seconds:g} s: give a shorter text") from error
        raise AudioError(f"cannot reach {host}: {explain(error)}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise AudioError(f"cannot reach {host}: {explain(error)}") from error
    return bytes(content)


def _message(error: HTTPError) -> str:
    """What a server says of its error, on a short line."""
    with suppress(Exception):
        body = error.read(10_000).decode("utf-8", "replace")
        with suppress(ValueError, LookupError, TypeError):
            return shown(json.loads(body)["error"]["message"])
        if body.strip():
            return shown(body.strip())
    return str(error.reason)
