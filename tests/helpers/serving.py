"""A server for the tests: a worker in a thread with stand-ins for the models, and what to send it."""

import io
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import cache
from multiprocessing import Pipe

import numpy as np
import pytest
from fakes import facemesh_space, fake_pipeline, plain_portrait
from fastapi.testclient import TestClient
from PIL import Image
from recordings import tone, write_sound

from kptalk.errors import FaceNotFound
from kptalk.face import portraits
from kptalk.serve import render
from kptalk.serve.app import create_app
from kptalk.serve.settings import Settings
from kptalk.serve.store import Store
from kptalk.serve.worker import Worker


class WorkerThread:
    """Does what ``WorkerProcess`` does, in this process."""

    def __init__(self, settings, store):
        self.settings, self.restarts, self.paused = settings, 0, False
        self.loaded = threading.Event()

    @property
    def ready(self):
        return self.loaded.is_set()

    def start(self):
        """Unlike the process, ready when this returns: no test depends on how fast a thread starts."""
        self.ours, theirs = Pipe()
        self.thread = threading.Thread(target=self.work, args=(theirs,), daemon=True)
        self.thread.start()
        threading.Thread(target=self.listen, daemon=True).start()
        assert self.loaded.wait(60)

    def listen(self):
        with suppress(EOFError, OSError):
            while True:
                self.ours.recv()

    def work(self, server):
        store = Store(self.settings.folder / "jobs.sqlite")
        worker = Worker(self.settings, store, fake_pipeline(facemesh_space()), server)
        turn = worker.turn
        worker.turn = lambda: False if self.paused else turn()
        self.loaded.set()
        worker.run()
        store.close()
        server.close()

    def wake(self):
        self.ours.send("wake")

    def stop(self):
        self.ours.send("stop")
        self.thread.join(10)
        assert not self.thread.is_alive()


def no_search(patch):
    """The template's face is in every picture of 128 pixels, none in others; nothing is searched."""

    def find_portrait(image, number=None, rotate="auto"):
        if image.shape != (128, 128, 3):
            raise FaceNotFound("no human face found in the picture")
        return replace(plain_portrait(facemesh_space()), image=np.ascontiguousarray(image))

    for place in (render, portraits):
        patch.setattr(place, "find_portrait", find_portrait)


def client_of(folder, **changes):
    """A client of a server on a folder; entered, it works."""
    settings = Settings(folder, hosts=("testserver",), free_bytes=0, **changes)
    return TestClient(create_app(settings, WorkerThread), raise_server_exceptions=False)


@cache
def photo(side=128):
    """The bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(plain_portrait(facemesh_space(), side).image).save(file, "png")
    return file.getvalue()


_recordings = {}


def recording(folder, seconds=1.0, suffix=".wav"):
    """The bytes of a recording; a folder to write it to."""
    if (seconds, suffix) not in _recordings:
        path = write_sound(folder / f"speech{suffix}", tone(16_000, seconds), 16_000)
        _recordings[seconds, suffix] = path.read_bytes()
    return _recordings[seconds, suffix]


def send(client, speech, portrait=None, path="/v1/videos", headers=None, **fields):
    """POST a video."""
    files = {"portrait": ("p", portrait or photo()), "speech": ("s", speech)}
    return client.post(path, files=files, data=fields, headers=headers)


def finished(client, video, seconds=20.0, headers=None):
    """The video object once it is final."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = client.get(f"/v1/videos/{video}", headers=headers).json()
        assert "status" in found, found
        if found["status"] not in ("queued", "in_progress"):
            return found
        time.sleep(0.01)
    raise TimeoutError(found)


def made(client, speech, **fields):
    """A video that is completed."""
    answer = send(client, speech, **fields)
    assert answer.status_code == 202, answer.text
    found = finished(client, answer.json()["id"])
    assert found["status"] == "completed", found
    return found


def refused(answer, status, code, *words):
    """Whether an answer is an error of this status and code whose message holds the words."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == code, error
    for word in words:
        assert word in error["message"]
    return True


class _Patch:
    setattr = staticmethod(setattr)


def load_fake(settings):
    """What a worker's process loads in the tests."""
    no_search(_Patch)
    return fake_pipeline(facemesh_space())


def load_in_replica(settings):
    """The same, and leaves word which process it is."""
    (settings.folder / "replica.pid").write_text(str(os.getpid()))
    return load_fake(settings)


def load_live(settings):
    """A pipeline with stand-ins for the process of a live voice; a photo of 64 pixels ends the process."""
    no_search(pytest.MonkeyPatch())
    found = portraits.find_portrait
    portraits.find_portrait = lambda image, *rest: os._exit(9) if image.shape[0] == 64 else found(image, *rest)
    return fake_pipeline(facemesh_space())
