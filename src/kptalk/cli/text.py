"""Where the speech of ``kptalk animate`` comes from: a recording, or a text that an engine says."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kptalk.errors import OptionError

if TYPE_CHECKING:
    from kptalk.media.audio import Speech

KEY = "KPTALK_TTS_KEY"  # in the environment, for a server that asks for one


def speech_of(
    speech: Path | None, text: str | None, text_file: Path | None, tts: str | None, voice: str | None
) -> Callable[[], "Speech"]:
    """What makes the speech, once all that can be known before has been checked.

    Raises:
        KptalkError: not exactly one source is given, or it cannot be used.
    """
    if sum(each is not None for each in (speech, text, text_file)) != 1:
        raise OptionError("give one of SPEECH, --text and --text-file")
    if speech is not None:
        if tts is not None or voice is not None:
            raise OptionError("--tts and --voice belong to --text: SPEECH is a recording")
        return lambda: _opened(speech)

    from kptalk.media import tts as engines

    wanted = text if text_file is None else engines.read_text(text_file)

    engine = engines.installed_engine() if tts is None else tts
    engines.check_engine(engine, voice)
    return lambda: engines.speak(wanted or "", engine, voice, key=os.environ.get(KEY))


def check_voices(tts: str, voices: list[str]) -> None:
    """Make sure that a server can say texts; raises OptionError where it cannot."""
    from kptalk.media import tts as engines

    engines.check_engine(tts, voices[0] if voices else None)


def _opened(path: Path) -> "Speech":
    from kptalk.media.audio import Speech

    return Speech.open(path)
