"""What makes videos on a Ray cluster: replicas of Ray Serve, which send what they make piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kptalk.device import release_memory
from kptalk.errors import KptalkError
from kptalk.face.portraits import Portraits
from kptalk.scratch import scratch_folder
from kptalk.serve.confine import confine
from kptalk.serve.making import Start
from kptalk.serve.render import find, render
from kptalk.serve.settings import PORTRAIT, SPEECH, STREAM, THUMBNAIL, VIDEO, Settings
from kptalk.serve.store import Job, PortraitRequest
from kptalk.serve.worker import Load, load


@dataclass(frozen=True)
class Piece:
    """More of the growing video, after so many frames."""

    frames: int
    content: bytes


@dataclass(frozen=True)
class File:
    """A file of the finished job."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Failure:
    """Why the video cannot be made; an error that is raised would come as one of Ray's."""

    error: KptalkError


class Replica:
    """Makes one video at a time, with a model that is loaded once."""

    def __init__(self, settings: Settings, make: Load | None) -> None:
        self._settings, self._pipeline, self._portraits = settings, (make or load)(settings), Portraits()
        _fence_in(settings)

    async def render(
        self, job: Job, portrait: bytes, speech: bytes
    ) -> AsyncGenerator[Start | Piece | File | Failure, None]:
        """Make a job's video; closing the generator ends the work after the few frames at hand."""
        with scratch_folder() as folder:
            (folder / PORTRAIT).write_bytes(portrait)
            (folder / SPEECH).write_bytes(speech)
            with closing(render(job, folder, self._pipeline, self._portraits, self._settings)) as steps:
                sent = 0
                while True:
                    try:
                        step = await asyncio.to_thread(next, steps, None)
                    except KptalkError as error:
                        yield Failure(_without_paths(error, folder))
                        return
                    if isinstance(step, Start):
                        yield step
                    elif step is not None:
                        content = _read(folder / STREAM, sent)
                        sent += len(content)
                        yield Piece(step, content)
                    else:
                        break
            release_memory()
            yield Piece(-1, _read(folder / STREAM, sent))
            for file in (VIDEO, THUMBNAIL):
                yield File(file, (folder / file).read_bytes())


class Looker:
    """Finds the faces of photos, beside the replicas, which may be at work for long."""

    def __init__(self, settings: Settings) -> None:
        self._portraits = Portraits()
        _fence_in(settings)

    def find(self, request: PortraitRequest, photo: bytes) -> dict[str, Any] | Failure:
        """What /v1/portraits answers."""
        with scratch_folder() as folder:
            path = folder / PORTRAIT
            path.write_bytes(photo)
            try:
                return find(request, path, self._portraits)
            except KptalkError as error:
                return Failure(_without_paths(error, folder))


def _fence_in(settings: Settings) -> None:
    """Limit this process, which is Ray's, as the server's own worker is, as far as Ray can live with that."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = settings.portrait_pixels
    confine(settings.memory_bytes, settings.speech_seconds, alone=False)


def _read(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


def _without_paths(error: KptalkError, folder: Path) -> KptalkError:
    """The same error without the names of this machine's files."""
    text = str(error)
    for file, what in ((PORTRAIT, "the portrait"), (SPEECH, "the speech")):
        text = text.replace(str(folder / file), what)
    return type(error)("the video could not be written" if str(folder) in text else text)


def settings_for(settings: Settings) -> Settings:
    """What replicas are told of a server: no keys; what they make is signed here."""
    return replace(settings, keys=(), tts_key=None, sign_cert=None, sign_key=None)
