"""A voice comes in over a WebSocket and a talking face goes out; who misbehaves is sent away, and harms nobody else."""

import io
import json
import os
import time
from functools import partial
from hashlib import sha256

import av
import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving import WorkerThread, load_live, photo
from starlette.websockets import WebSocketDisconnect

from kptalk.serve import live_sessions
from kptalk.serve.api import owner_of_key
from kptalk.serve.app import create_app
from kptalk.serve.live_sessions import LiveSessions
from kptalk.serve.settings import Settings
from kptalk.serve.store import PortraitRequest, new_id

RATE = 16_000
KEY = "a-key-of-a-test"


def client_of(folder, **changes):
    settings = Settings(folder, hosts=("testserver",), free_bytes=0, **changes)
    return TestClient(create_app(settings, WorkerThread, partial(LiveSessions, load=load_live)))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A server with one process for all tests of this file."""
    with client_of(tmp_path_factory.mktemp("live"), live_seconds=20) as found:
        yield found


@pytest.fixture(scope="module")
def face(client):
    return portrait_of(client, photo())


def portrait_of(client, content, owner=""):
    """A photo as if it had been sent before."""
    server = client.app.state.server
    found = PortraitRequest(new_id("portrait"), owner, time.time(), sha256(content).hexdigest(), None, "auto")
    folder = server.settings.portraits / found.id
    folder.mkdir()
    (folder / "portrait").write_bytes(content)
    server.store.add_portrait(found)
    server.store.answer_portrait(found.id, result={"face": 1})
    return found.id


def sound(seconds):
    t = np.arange(round(RATE * seconds)) / RATE
    return (8000 * np.sin(2 * np.pi * 140 * t) * (1 + np.sin(8 * np.pi * t))).astype("<i2").tobytes()


def speak(socket, data, step=640):
    for start in range(0, len(data), step):
        socket.send_bytes(data[start : start + step])


def hear(socket):
    """All messages to the end: the texts by their type, and the video's bytes."""
    texts, video = {}, b""
    while True:
        message = socket.receive()
        if message["type"] == "websocket.close":
            return texts, video, message["code"]
        if message.get("text"):
            told = json.loads(message["text"])
            texts[told["type"]] = told
        video += message.get("bytes") or b""


def test_a_voice_becomes_a_video(client, face):
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": face, "options": {"size": 64}})
        started = socket.receive_json()
        speak(socket, sound(2))
        socket.send_json({"type": "stop"})
        texts, video, code = hear(socket)
    assert code == 1000
    assert started["type"] == "started"
    assert started["size"] == "64x64"
    assert texts["video"]["mime"] == 'video/mp4; codecs="avc1.640028, mp4a.40.2"'
    with av.open(io.BytesIO(video)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    assert frames == round(25 * started["lead"]) + 50
    with av.open(io.BytesIO(video)) as container:
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / RATE
    assert seconds == pytest.approx(frames / 25, abs=0.1)


def test_the_face_is_there_before_a_word_is_said(client, face):
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": face, "options": {"size": 64}})
        assert socket.receive_json()["type"] == "started"
        assert socket.receive_json()["type"] == "video"
        video = b""
        while b"mdat" not in video:
            video += socket.receive_bytes()


def test_the_next_one_gets_the_same_process(client, face):
    pids = []
    for _ in range(2):
        with client.websocket_connect("/v1/live") as socket:
            socket.send_json({"portrait_id": face, "options": {"size": 64}})
            assert socket.receive_json()["type"] == "started"
            pids.append([each.pid for each in client.app.state.server.live.processes])
            speak(socket, sound(0.5))
            socket.close()  # in the middle
            wait_until(lambda: client.app.state.server.live.busy == 0)
    assert pids[0] == pids[1]
    assert len(pids[0]) == 1


def wait_until(done, seconds=10):
    until = time.monotonic() + seconds
    while not done() and time.monotonic() < until:
        time.sleep(0.02)
    assert done()


def test_a_second_voice_has_to_wait(client, face):
    with client.websocket_connect("/v1/live") as first, client.websocket_connect("/v1/live") as second:
        first.send_json({"portrait_id": face, "options": {"size": 64}})
        assert first.receive_json()["type"] == "started"
        second.send_json({"portrait_id": face})
        texts, video, code = hear(second)
        assert (texts["error"]["error"]["code"], video, code) == ("busy", b"", 1013)
        first.send_json({"type": "stop"})
        assert hear(first)[2] == 1000


BAD_HELLOS = {
    "no JSON": ("hello", "invalid_request"),
    "a list": ("[]", "invalid_request"),
    "deep": ("[" * 15_000, "invalid_request"),
    "no photo": ({}, "not_found"),
    "an unknown photo": ({"portrait_id": "portrait_x"}, "not_found"),
    "a path": ({"portrait_id": "../../jobs"}, "not_found"),
    "a bad face": ({"portrait_id": None, "face": 0}, "invalid_request"),
    "an unknown option": ({"portrait_id": None, "options": {"speed": 3}}, "invalid_option"),
    "an option out of bounds": ({"portrait_id": None, "options": {"yaw": 900}}, "invalid_option"),
    "a file of the server": ({"portrait_id": None, "options": {"pose": "/etc/passwd.mp4"}}, "invalid_option"),
    "too large": ({"portrait_id": None, "options": {"size": 2048}}, "invalid_option"),
    "another frame rate": ({"portrait_id": None, "options": {"fps": 30}}, "invalid_request"),
}


@pytest.mark.parametrize("kind", BAD_HELLOS)
def test_a_bad_beginning(client, face, kind):
    hello, expected = BAD_HELLOS[kind]
    if isinstance(hello, dict) and "portrait_id" in hello and hello["portrait_id"] is None:
        hello = hello | {"portrait_id": face}
    with client.websocket_connect("/v1/live") as socket:
        socket.send_text(hello if isinstance(hello, str) else json.dumps(hello))
        texts, _, code = hear(socket)
    assert code == 1008
    error = texts["error"]["error"]
    assert error["code"] == expected
    assert str(client.app.state.server.settings.folder) not in error["message"]


BAD_SOUND = {
    "an odd number of bytes": lambda socket: socket.send_bytes(b"123"),
    "a chunk too long": lambda socket: socket.send_bytes(bytes(64_002)),
    "text": lambda socket: socket.send_text("hello"),
    "much faster than it is spoken": lambda socket: speak(socket, bytes(RATE * 2 * 15), 32_000),
}


@pytest.mark.parametrize("kind", BAD_SOUND)
def test_bad_sound(client, face, kind):
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": face, "options": {"size": 64}})
        assert socket.receive_json()["type"] == "started"
        BAD_SOUND[kind](socket)
        texts, _, code = hear(socket)
    assert code == 1008
    assert texts["error"]["error"]["code"] == ("too_slow" if "faster" in kind else "invalid_request")


def test_a_voice_ends_when_its_time_is_up(client, face, monkeypatch):
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": face, "options": {"size": 64}})
        assert socket.receive_json()["type"] == "started"
        for _ in range(42):  # 21 s, at the pace of the stand-ins on a busy machine
            socket.send_bytes(sound(0.5))
            time.sleep(0.1)
        texts, _, code = hear(socket)
    assert (list(texts), code) == (["video", "ended"], 1000)


def test_a_process_that_dies_harms_nobody_else(client, face):
    broken = portrait_of(client, photo(64))
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": broken})
        texts, _, code = hear(socket)
    assert (texts["error"]["error"]["code"], code) == ("internal_error", 1011)
    with client.websocket_connect("/v1/live") as socket:
        socket.send_json({"portrait_id": face, "options": {"size": 64}})
        assert socket.receive_json()["type"] == "started"


def test_pages_of_other_sites_are_refused(client):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/v1/live", headers={"origin": "https://evil.example"}),
    ):
        pytest.fail("it was let in")


def test_the_process_ends_with_the_server_and_when_nobody_needs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(live_sessions, "IDLE", 0.1)
    with client_of(tmp_path / "one", keys=(KEY,)) as client:
        face = portrait_of(client, photo(), owner_of_key(f"Bearer {KEY}", (KEY,)))
        with client.websocket_connect("/v1/live") as socket:
            socket.send_json({"portrait_id": face})
            assert hear(socket)[0]["error"]["error"]["code"] == "unauthorized"
        assert not client.app.state.server.live.processes
        with client.websocket_connect("/v1/live") as socket:
            socket.send_json({"portrait_id": face, "key": KEY, "options": {"size": 64}})
            assert socket.receive_json()["type"] == "started"
            (process,) = client.app.state.server.live.processes
        wait_until(lambda: not client.app.state.server.live.processes)
        wait_until(lambda: not is_running(process.pid))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
