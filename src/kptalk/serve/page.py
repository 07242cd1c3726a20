"""The page, and what is beside the videos: health, models, metrics, and the API's own description."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from kptalk.serve.api import ApiError, ServerPart
from kptalk.serve.videos import model_name
from kptalk.version import __version__

KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
NAMES = frozenset(each.name for each in files("kptalk.serve").joinpath("static").iterdir())
router = APIRouter()


@cache
def _content(name: str) -> bytes:
    return files("kptalk.serve").joinpath("static", name).read_bytes()


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The page."""
    return _file("page.html", "text/html; charset=utf-8")


@router.get("/static/{name}", include_in_schema=False)
def static(name: str) -> Response:
    """A file of the page: no path, one of those that are there."""
    if (kind := KINDS.get(Path(name).suffix)) is None or name not in NAMES:
        raise ApiError(404, "not_found", "there is no such file")
    return _file(name, kind)


def _file(name: str, kind: str) -> Response:
    return Response(_content(name), media_type=kind, headers={"Cache-Control": "no-cache"})


@router.get("/health", tags=["server"])
def health() -> dict[str, str]:
    """Whether the server answers."""
    return {"status": "ok", "version": __version__}


@router.get("/ready", tags=["server"])
def ready(server: ServerPart) -> JSONResponse:
    """Whether videos are made at once: 200, or 503 while the model is loaded."""
    return JSONResponse(
        {"status": "ready"} if server.workers.ready else {"status": "loading"}, 200 if server.workers.ready else 503
    )


@router.get("/v1/models", tags=["server"])
def models(server: ServerPart) -> dict[str, Any]:
    """The model of this server."""
    settings = server.settings
    model: dict[str, Any] = {"id": model_name(server), "object": "model", "created": 0, "owned_by": "kptalk"}
    model["text"], model["voices"] = settings.tts is not None, list(settings.voices)
    model["live"], model["size"] = settings.live > 0, settings.size
    model["speech_seconds"], model["keep_seconds"] = settings.speech_seconds, settings.keep
    return {"object": "list", "data": [model]}
