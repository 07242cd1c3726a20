"""/v1/videos: create, list, get, watch, download, delete; of the shape of OpenAI's, so that its clients work."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Header, Query, Request, UploadFile
from fastapi import Path as PathPart
from fastapi.responses import FileResponse, Response

from kptalk.media.tts import MOST_TEXT
from kptalk.options import Options
from kptalk.serve import uploads
from kptalk.serve.api import ApiError, Owner, Server, ServerPart
from kptalk.serve.follow import GrowingResponse, growing_file, interrupted, news, stream_type
from kptalk.serve.forms import NAMES, given_options
from kptalk.serve.settings import PORTRAIT, SPEECH, THUMBNAIL, VIDEO
from kptalk.serve.store import ACTIVE, Job, QueueFull, new_id

FILES: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}, "image/webp": {}}}}
router = APIRouter(prefix="/v1/videos", tags=["videos"])
FIELDS = frozenset({"portrait", "portrait_id", "speech", "text", "voice", "face", "model"}) | NAMES
VideoId = Annotated[str, PathPart(max_length=64, description="As `POST /v1/videos` answered.")]


def new_job(
    request: Request,
    server: ServerPart,
    owner: Owner,
    options: Annotated[Options, Depends(given_options)],
    speech: Annotated[
        UploadFile | None, File(description="The recording: any sound file, or a video with sound.")
    ] = None,
    text: Annotated[
        str | None, Form(max_length=MOST_TEXT, description="What is said, instead of `speech`, if a voice is set up.")
    ] = None,
    voice: Annotated[str | None, Form(max_length=200, description="Whose voice, one of `GET /v1/models`.")] = None,
    portrait: Annotated[UploadFile | None, File(description="The photo: any image file.")] = None,
    portrait_id: Annotated[
        str | None, Form(max_length=64, description="A photo of `POST /v1/portraits`, in the place of `portrait`.")
    ] = None,
    face: Annotated[int | None, Form(ge=1, le=1000, description="Which of several faces, 1 is the leftmost.")] = None,
    model: Annotated[str | None, Form(max_length=200, description="The one of `GET /v1/models`.")] = None,
    idempotency_key: Annotated[
        str | None, Header(max_length=200, description="The same key and request again give the same video.")
    ] = None,
) -> Job:
    """The job of a request, in the queue."""
    uploads.refuse_unknown(request, FIELDS)
    settings = server.settings
    if model not in (None, model_name(server)):
        raise ApiError(404, "model_not_found", f"the model here is {model_name(server)}")
    if options.size is not None and options.size > settings.size:
        raise ApiError(422, "invalid_option", f"size is {options.size}: give at most {settings.size}")
    uploads.refuse_without_room(server)
    job = Job(new_id("video"), owner, options.to_dict(), "", time.time(), face=face, request=idempotency_key)
    folder = settings.jobs / job.id
    folder.mkdir(parents=True)
    try:
        photo = uploads.keep_portrait(server, owner, portrait, portrait_id, folder / PORTRAIT)
        sound = uploads.keep_speech(server, speech, text, voice, folder / SPEECH)
        digest = sha256(f"{photo} {sound} {job.options} {face}".encode()).hexdigest()
        per_owner = settings.waiting_per_key if len(settings.keys) > 1 else None
        job = server.store.add(replace(job, portrait=photo, request_digest=digest), settings.waiting, per_owner)
        if job.request_digest != digest:
            raise ApiError(409, "idempotency_mismatch", "an earlier request of this Idempotency-Key was another one")
    except QueueFull as error:
        raise ApiError(429, "queue_full", f"{error}: try again later", {"Retry-After": "30"}) from None
    finally:
        if server.store.get(folder.name) is None:
            shutil.rmtree(folder, ignore_errors=True)
    server.workers.wake()
    return job


def existing_job(video_id: VideoId, server: ServerPart, owner: Owner) -> Job:
    """The job of an address; raises ApiError where there is none, or it is another client's."""
    if (job := server.store.get(video_id, owner)) is None:
        raise ApiError(404, "not_found", "there is no such video")
    return job


NewJob = Annotated[Job, Depends(new_job)]
ExistingJob = Annotated[Job, Depends(existing_job)]


@router.post("", status_code=202)
def create(job: NewJob, server: ServerPart) -> dict[str, Any]:
    """Queue a video; poll it, or watch its events or its stream."""
    return shown(server, job)


@router.post("/sync", response_class=Response, responses={200: {"content": {"video/mp4": {}}}})
async def create_and_watch(job: NewJob, server: ServerPart) -> GrowingResponse:
    """Make a video and answer with it, while it is made; leaving cancels it."""
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.mp4"', "X-Video-Id": job.id}
    return GrowingResponse(server, growing_file(server, job.id, cancel=True), stream_type, headers)


@router.get("")
def listing(
    server: ServerPart,
    owner: Owner,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Id of the last video of the page before.")] = None,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """Your videos, the newest first."""
    if after is not None and server.store.get(after, owner) is None:
        raise ApiError(404, "not_found", "there is no such video")
    jobs, more = server.store.page(owner, limit, after, order == "desc")
    data = [shown(server, job) for job in jobs]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": more} | ends


@router.get("/{video_id}")
def get(job: ExistingJob, server: ServerPart) -> dict[str, Any]:
    """A video: its status, progress, and what is known of it."""
    return shown(server, job)


@router.get("/{video_id}/stream", response_class=Response, responses={200: {"content": {"video/mp4": {}}}})
async def stream(job: ExistingJob, server: ServerPart) -> GrowingResponse:
    """The video from its start, as a fragmented MP4, while it is made and afterwards."""
    if job.status not in (*ACTIVE, "completed"):
        raise interrupted(job)
    return GrowingResponse(server, growing_file(server, job.id), stream_type)


@router.get("/{video_id}/events", response_class=Response, responses={200: {"content": {"text/event-stream": {}}}})
async def events(job: ExistingJob, server: ServerPart) -> GrowingResponse:
    """Server-sent events: the video object, whenever it changes, until it is final."""

    async def content() -> AsyncGenerator[bytes]:
        async for event in news(server, job, lambda found: shown(server, found)):
            yield event

    return GrowingResponse(server, content(), lambda _: "text/event-stream; charset=utf-8")


@router.get(
    "/{video_id}/content",
    response_class=FileResponse,
    responses=FILES,
)
def content(job: ExistingJob, server: ServerPart, variant: Literal["video", "thumbnail"] = "video") -> FileResponse:
    """The finished video, a plain MP4, or its first frame."""
    if job.status in ACTIVE:
        raise ApiError(409, "not_ready", f"the video is {job.status}", {"Retry-After": "2"})
    if job.status != "completed":
        raise interrupted(job)
    name, kind = (VIDEO, "video/mp4") if variant == "video" else (THUMBNAIL, "image/webp")
    path = server.settings.jobs / job.id / name
    if not path.is_file():
        raise ApiError(410, "expired", "the video is expired")
    return FileResponse(path, media_type=kind, filename=f"{job.id}{Path(name).suffix}")


@router.delete("/{video_id}")
def delete(job: ExistingJob, server: ServerPart) -> dict[str, Any]:
    """Delete a video's files and forget it; one that is not finished is cancelled, and stays as such."""
    if not server.store.cancel(job.id):
        server.store.remove(job.id)
    server.workers.wake()
    shutil.rmtree(server.settings.jobs / job.id, ignore_errors=True)
    return {"id": job.id, "object": "video.deleted", "deleted": True}


def model_name(server: Server) -> str:
    """What clients call the model."""
    return f"kptalk-{Path(server.settings.model).name}"


def shown(server: Server, job: Job) -> dict[str, Any]:
    """The video object of the API."""
    seconds = job.seconds if job.seconds is not None else job.expected and job.expected / (job.fps or 25.0)
    return {
        "id": job.id,
        "object": "video",
        "model": model_name(server),
        "status": job.status,
        "progress": job.progress,
        "created_at": int(job.created),
        "completed_at": None if job.completed is None or job.status in ACTIVE else int(job.completed),
        "expires_at": None if job.expires is None else int(job.expires),
        "seconds": None if seconds is None else f"{seconds:.2f}",
        "size": job.size,
        "fps": job.fps,
        "frames": job.frames,
        "frames_per_second": round(job.frames / job.spent, 1) if job.frames and job.spent else None,
        "options": job.options,
        "error": None if job.code is None else {"code": job.code, "message": job.message},
    }
