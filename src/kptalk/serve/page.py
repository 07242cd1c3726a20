"""The page, and what is beside the videos: health, models, metrics, and the API's own description."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, JSONResponse

from kptalk.serve.api import ServerPart
from kptalk.serve.protect import CONTENT, FIXED
from kptalk.serve.videos import model_name
from kptalk.version import __version__

router = APIRouter()


@cache
def _page() -> tuple[str, str]:
    """The page, and a content security policy that knows its script and style by their digests."""
    text = files("kptalk.serve").joinpath("page.html").read_text("utf-8")
    allowed = []
    for tag in ("script", "style"):
        inside = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.DOTALL)
        digests = [b64encode(sha256(each.encode()).digest()).decode() for each in inside]
        allowed.append(" ".join([f"{tag}-src 'self'", *(f"'sha256-{digest}'" for digest in digests)]))
    return text, "; ".join([CONTENT, *allowed, FIXED])


@router.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    """The page."""
    text, policy = _page()
    return HTMLResponse(text, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


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
