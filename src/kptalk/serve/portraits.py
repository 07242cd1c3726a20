"""/v1/portraits: which faces a photo has, before anything else is uploaded."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool

from kptalk.serve import uploads
from kptalk.serve.api import ApiError, Owner, Server, ServerPart
from kptalk.serve.settings import PORTRAIT
from kptalk.serve.store import PortraitRequest, new_id

router = APIRouter(prefix="/v1/portraits", tags=["portraits"])
FIELDS = frozenset({"portrait", "face", "rotate"})
LOOK = 0.02  # seconds between looks whether the worker has found it
WAITING = 60.0  # seconds that it may take


@router.post("", status_code=201)
async def create(
    request: Request,
    server: ServerPart,
    owner: Owner,
    portrait: Annotated[UploadFile, File(description="The photo: any image file.")],
    face: Annotated[int | None, Form(ge=1, le=1000, description="Which of several faces, 1 is the leftmost.")] = None,
    rotate: Annotated[str | None, Form(pattern="^(auto|no)$", description="As for videos.")] = None,
) -> dict[str, Any]:
    """Find the faces of a photo, and keep it for videos, which name it by `portrait_id`."""
    uploads.refuse_unknown(request, FIELDS)
    asked = await run_in_threadpool(_keep, server, owner, portrait, face, rotate or "auto")
    until = time.monotonic() + WAITING
    while time.monotonic() < until:
        found = server.store.portrait(asked.id)
        if found is None or found.code is not None:
            code, message = ("not_found", "the photo is gone") if found is None else (found.code, found.message)
            raise ApiError(422, code or "", message or "")
        if found.result is not None:
            return {"id": found.id, "object": "portrait", "created_at": int(found.created)} | found.result
        await asyncio.sleep(LOOK)
    server.store.answer_portrait(asked.id, code="timeout", message="nobody waits for it any more")
    raise ApiError(503, "busy", "the server is too busy to look at the photo: try again", {"Retry-After": "10"})


def _keep(server: Server, owner: str, upload: UploadFile, face: int | None, rotate: str) -> PortraitRequest:
    uploads.refuse_without_room(server)
    portrait = new_id("portrait")
    folder = server.settings.portraits / portrait
    folder.mkdir(parents=True)
    try:
        digest = uploads.keep(upload, folder / PORTRAIT, server.settings.portrait_bytes)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    asked = PortraitRequest(portrait, owner, time.time(), digest, face, rotate)
    server.store.add_portrait(asked)
    server.workers.wake()
    return asked
