"""A web server: send a portrait and a recording, and the video comes back while it is made. Hanging up cancels it.

pip install fastapi python-multipart uvicorn && python examples/web.py
curl -F portrait=@face.jpg -F speech=@speech.m4a "localhost:8000/animate?framing=crop" -o talk.mp4
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException, UploadFile
from fastapi.responses import StreamingResponse

from kptalk import Animation, Pipeline
from kptalk.errors import Cancelled, InputError


async def body(animation: Animation) -> AsyncIterator[bytes]:
    """The video as a fragmented MP4, which browsers play at once; drawn in another thread."""
    loop, chunks = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    class Writer:
        def write(self, data: bytes) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, data)

    def work() -> None:
        try:
            animation.save(Writer())
        except Cancelled:
            pass
        finally:
            loop.call_soon_threadsafe(chunks.put_nowait, b"")

    working = loop.run_in_executor(None, work)
    try:
        while chunk := await chunks.get():
            yield chunk
        await working  # an error in the middle cuts the answer short
    finally:
        animation.cancel()  # the client has gone; after the end it does nothing


def web_app(pipeline: Pipeline) -> FastAPI:
    """One model serves any number of requests, in threads."""
    app = FastAPI()

    @app.post("/animate")
    async def animate(portrait: UploadFile, speech: UploadFile, seed: int = 0, framing: str = "full"):
        photo, sound = await portrait.read(), await speech.read()
        try:
            animation = await asyncio.to_thread(pipeline.animate, photo, sound, seed=seed, framing=framing)
        except InputError as error:
            raise HTTPException(422, str(error)) from error
        return StreamingResponse(body(animation), media_type="video/mp4")

    return app


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(web_app(Pipeline.from_pretrained()))
