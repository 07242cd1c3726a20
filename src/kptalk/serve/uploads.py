"""What clients send: into files of our own naming, counted while they are written, and refused where it is too much."""

from __future__ import annotations

import logging
import shutil
from hashlib import sha256
from pathlib import Path

from fastapi import Request, UploadFile

from kptalk.errors import KptalkError
from kptalk.media.tts import speak
from kptalk.serve.api import DISK_FULL, ApiError, Server
from kptalk.serve.settings import PORTRAIT

BLOCK = 1 << 20  # bytes
SAYING = 60.0  # seconds that a text may take to be said
logger = logging.getLogger(__name__)


def refuse_unknown(request: Request, known: frozenset[str]) -> None:
    """Raises ApiError where a form has a field that nobody reads: it is misspelt."""
    form = request._form  # the one that FastAPI has parsed
    if unknown := sorted(set(form or ()) - known):
        raise ApiError(422, "invalid_request", f"unknown fields: {', '.join(unknown)[:200]}")


def refuse_without_room(server: Server) -> None:
    """Raises ApiError where the disk is as good as full."""
    if shutil.disk_usage(server.settings.folder).free < server.settings.free_bytes:
        raise ApiError(*DISK_FULL)


def keep(upload: UploadFile, path: Path, limit: int) -> str:
    """Write an upload to a file; its SHA-256.

    Raises:
        ApiError: it is empty, or larger than ``limit`` bytes.
    """
    digest, size = sha256(), 0
    with path.open("xb") as file:
        while block := upload.file.read(BLOCK):
            size += len(block)
            if size > limit:
                raise ApiError(413, "too_large", f"{path.name} is larger than {limit >> 20} MB")
            digest.update(block)
            file.write(block)
    if not size:
        raise ApiError(422, "invalid_request", f"{path.name} is empty")
    return digest.hexdigest()


def keep_speech(server: Server, upload: UploadFile | None, text: str | None, voice: str | None, path: Path) -> str:
    """Write the recording of a job to a file, an upload or what the server's engine says; a digest of it.

    Raises:
        ApiError: neither or both are given, the upload cannot be taken, or the text cannot be said here.
    """
    settings = server.settings
    if (upload is None) == (text is None) or (voice is not None and text is None):
        raise ApiError(422, "invalid_request", "give speech, a file, or text, to which a voice belongs")
    if upload is not None:
        return keep(upload, path, settings.speech_bytes)
    if settings.tts is None:
        raise ApiError(422, "no_voice", "no voice is set up here: give speech, a file")
    if voice is not None and voice not in settings.voices:
        raise ApiError(422, "invalid_request", f"the voices are {', '.join(settings.voices) or 'not to be chosen'}")
    if not (text or "").strip():
        raise ApiError(422, "invalid_request", "there is no text to say")
    chosen = voice or next(iter(settings.voices), None)
    try:
        said = speak(text or "", settings.tts, chosen, seconds=SAYING, key=settings.tts_key)
    except KptalkError as error:
        logger.warning("a text could not be said: %s", error)
        raise ApiError(502, "no_voice", "the text could not be said: the voice failed") from None
    assert isinstance(said.recording, bytes)
    path.write_bytes(said.recording)
    return sha256(f"{chosen} {text}".encode("utf-8", "replace")).hexdigest()


def keep_portrait(server: Server, owner: str, upload: UploadFile | None, portrait_id: str | None, path: Path) -> str:
    """Write the photo of a job to a file, an upload or one of ``/v1/portraits``; its SHA-256.

    Raises:
        ApiError: neither or both are given, or the upload cannot be taken.
    """
    if (upload is None) == (portrait_id is None):
        raise ApiError(422, "invalid_request", "give portrait, a file, or portrait_id")
    if upload is not None:
        return keep(upload, path, server.settings.portrait_bytes)
    found = server.store.portrait(portrait_id or "", owner)
    try:
        if found is None:
            raise FileNotFoundError
        shutil.copyfile(server.settings.portraits / found.id / PORTRAIT, path)
    except FileNotFoundError:
        raise ApiError(404, "not_found", "there is no such portrait") from None
    return found.digest
