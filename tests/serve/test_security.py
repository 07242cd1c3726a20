"""What strangers try: other sites, no key, other people's videos, too much, too slow, hostile names and files."""

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from serving import finished, made, photo, recording, refused, send
from starlette.exceptions import HTTPException

from kptalk.serve import follow
from kptalk.serve.api import owner_of_key
from kptalk.serve.protect import Protection
from kptalk.serve.settings import Settings

HEADERS = {
    "content-security-policy": "default-src 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_only_the_page_and_health_answer(serve, speech):
    with serve(keys=("right", "other")) as client:
        for path in ("/health", "/ready", "/docs", "/openapi.json", "/"):
            assert client.get(path).status_code == 200, path
        for header in ({}, bearer("wrong"), bearer("righ"), bearer(""), {"Authorization": "right"}, bearer("ri\xe9ht")):
            headers = {name: value.encode("latin-1") for name, value in header.items()}
            for path in ("/v1/videos", "/v1/models", "/metrics", "/v1/videos/video_x/stream"):
                answer = client.get(path, headers=headers)
                assert refused(answer, 401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
            assert refused(send(client, speech, headers=headers), 401, "unauthorized")
        assert client.get("/v1/videos", headers=bearer("right")).status_code == 200


def test_keys_are_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    assert owner_of_key("Bearer two", ("one", "two", "three")) is not None
    assert [b for _, b in compared] == [b"one", b"two", b"three"]


def test_a_body_without_a_key_is_not_read():
    """Or it would be written to the disk before anybody looks at the key."""
    sent = []

    async def never(*_):
        raise AssertionError

    async def answered(message):
        sent.append(message)

    scope = {"type": "http", "path": "/v1/videos", "headers": [(b"host", b"localhost")], "method": "POST"}
    asyncio.run(Protection(never, Settings(Path("."), keys=("k",)))(scope, never, answered))
    assert sent[0]["status"] == 401


def test_one_client_does_not_see_what_another_has(serve, speech):
    with serve(keys=("mine", "yours")) as client:
        video = send(client, speech, headers=bearer("mine")).json()["id"]
        assert finished(client, video, headers=bearer("mine"))["status"] == "completed"
        for part in ("", "/stream", "/events", "/content"):
            assert refused(client.get(f"/v1/videos/{video}{part}", headers=bearer("yours")), 404, "not_found")
        assert refused(client.delete(f"/v1/videos/{video}", headers=bearer("yours")), 404, "not_found")
        assert client.get("/v1/videos", headers=bearer("yours")).json()["data"] == []
        answer = client.get("/v1/videos", params={"after": video}, headers=bearer("yours"))
        assert refused(answer, 404, "not_found")
        assert len(client.get("/v1/videos", headers=bearer("mine")).json()["data"]) == 1


def test_only_known_hosts_are_served(client):
    for host in ("evil.example", "testserver.evil.example", "evil.example:80", "", "127.0.0.1.nip.io"):
        assert refused(client.get("/health", headers={"Host": host}), 400, "unknown_host")
    assert client.get("/health", headers={"Host": "testserver:8000"}).status_code == 200


def test_pages_of_other_sites_can_neither_send_nor_read(client, speech):
    for origin in (
        "https://evil.example",
        "null",
        "http://[",
        "",
        "http://testserver.evil.example",
        "http://testserver:1",
    ):
        answer = send(client, speech, headers={"Origin": origin})
        assert refused(answer, 403, "other_origin")
        assert "access-control-allow-origin" not in answer.headers
    assert send(client, speech, headers={"Origin": "http://testserver"}).status_code == 202


def test_every_answer_has_the_headers_of_caution(client, speech):
    video = made(client, speech)["id"]
    paths = ["/", "/docs", "/v1/videos", f"/v1/videos/{video}/stream", f"/v1/videos/{video}/content", "/nothing"]
    for path in paths:
        answer = client.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name].startswith(value), (path, name)
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert "blob:" in client.get("/").headers["content-security-policy"]


def test_too_large_requests_are_refused(serve, speech):
    with serve(body_bytes=300_000, portrait_bytes=90_000, speech_bytes=90_000) as client:
        assert refused(send(client, bytes(400_000)), 413, "too_large")
        assert refused(send(client, bytes(100_000)), 413, "too_large", "speech")
        assert refused(send(client, speech, bytes(100_000)), 413, "too_large", "portrait")

        def unannounced():
            yield b'--x\r\nContent-Disposition: form-data; name="speech"; filename="s"\r\n\r\n'
            for _ in range(100):
                yield bytes(10_000)

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert refused(client.post("/v1/videos", content=unannounced(), headers=headers), 413, "too_large")
        assert list(client.app.state.server.settings.jobs.iterdir()) == []


def test_a_body_that_does_not_come_is_given_up():
    async def app(scope, receive, send):
        await receive()
        await receive()

    async def slow():
        if not slow.called:
            slow.called = True
            return {"type": "http.request", "body": b"a", "more_body": True}
        await asyncio.sleep(60)

    slow.called = False
    scope = {"type": "http", "path": "/v1/videos", "headers": [(b"host", b"localhost")], "method": "POST"}
    with pytest.raises(HTTPException) as given_up:  # which the application answers
        asyncio.run(Protection(app, Settings(Path("."), idle_seconds=0.05))(scope, slow, None))
    assert given_up.value.status_code == 408


def test_a_body_may_not_take_for_ever_byte_by_byte():
    async def app(scope, receive, send):
        while True:
            await receive()

    async def trickle():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"a", "more_body": True}

    scope = {"type": "http", "path": "/v1/videos", "headers": [(b"host", b"localhost")], "method": "POST"}
    with pytest.raises(HTTPException) as given_up:
        asyncio.run(Protection(app, Settings(Path("."), idle_seconds=0.02))(scope, trickle, None))
    assert given_up.value.status_code == 408


def test_uploads_are_bounded_while_they_come_in_and_no_longer():
    """Who waits for a video, or watches it, is no upload any more."""
    statuses = []

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.2)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def answered(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def one(protection, seconds):
        async def body():
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "path": "/v1/videos", "headers": [(b"host", b"localhost")], "method": "POST"}
        await protection(scope, body, answered)

    async def several():
        protection = Protection(app, Settings(Path("."), uploads=1))
        first = [asyncio.create_task(one(protection, seconds)) for seconds in (0.05, 0.05)]
        await asyncio.sleep(0.12)
        await asyncio.gather(one(protection, 0), *first)

    asyncio.run(several())
    assert statuses == [503, 200, 200]


def test_a_large_picture_is_refused_before_it_is_decoded(serve, speech, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # as the worker's process does with the setting
    with serve() as client:
        video = finished(client, send(client, speech).json()["id"])
        assert video["error"]["code"] == "image_error"
        assert "million pixels" in video["error"]["message"]


def test_a_long_recording_is_refused(serve, tmp_path):
    long = recording(tmp_path, 3.0)
    with serve(speech_seconds=2.0) as client:
        for sound in (long, recording(tmp_path, 3.0, ".mp3")):
            video = finished(client, send(client, sound).json()["id"])
            assert video["error"] == {"code": "audio_error", "message": "the recording is longer than 2 s"}
        assert made(client, recording(tmp_path, 1.9))["seconds"] == "1.92"


def test_a_recording_that_claims_to_be_short_is_counted_while_it_is_decoded(serve, tmp_path, monkeypatch):
    from fractions import Fraction

    from kptalk.serve import render

    opened = render.Speech.open

    def lying(path):
        speech = opened(path)
        speech.duration_hint = Fraction(1)
        return speech

    monkeypatch.setattr(render.Speech, "open", lying)
    with serve(speech_seconds=2.0) as client:
        video = finished(client, send(client, recording(tmp_path, 30.0)).json()["id"])
        assert video["error"] == {"code": "audio_error", "message": "the recording is longer than 2 s"}


def test_work_on_one_video_is_bounded(serve, tmp_path):
    with serve(job_seconds=0.1) as client:
        video = finished(client, send(client, recording(tmp_path, 300.0)).json()["id"])
        assert video["error"]["code"] == "timeout"


def test_size_is_bounded(serve, speech):
    with serve(size=256) as client:
        assert refused(send(client, speech, size="512"), 422, "invalid_option", "at most 256")


def test_the_queue_is_bounded(serve, speech):
    with serve(waiting=2) as client:
        client.app.state.server.workers.paused = True
        accepted = [send(client, speech) for _ in range(4)]
        assert [each.status_code for each in accepted] == [202, 202, 429, 429]
        assert accepted[2].headers["retry-after"] == "30"
        assert refused(accepted[2], 429, "queue_full", "2 videos are waiting")
        assert len(list(client.app.state.server.settings.jobs.iterdir())) == 2


def test_one_of_several_clients_cannot_fill_the_queue(serve, speech):
    with serve(keys=("one", "two"), waiting=4, waiting_per_key=1) as client:
        client.app.state.server.workers.paused = True
        assert send(client, speech, headers=bearer("one")).status_code == 202
        assert refused(send(client, speech, headers=bearer("one")), 429, "queue_full", "1 of your videos")
        assert send(client, speech, headers=bearer("two")).status_code == 202


def test_nothing_is_accepted_on_a_full_disk(serve, speech):
    with serve() as client:
        server = client.app.state.server
        server.settings = replace(server.settings, free_bytes=1 << 60)
        assert refused(send(client, speech), 507, "disk_full")
        assert refused(client.post("/v1/portraits", files={"portrait": photo()}), 507, "disk_full")
        assert list(server.settings.jobs.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/passwd", "a\x00b", "con", "x" * 900, "evil.ffconcat", "..%2f..%2fx"]
)
def test_names_of_uploads_lead_nowhere(client, speech, name):
    settings = client.app.state.server.settings
    files = {"portrait": (name, photo(), "image/png"), "speech": (name, speech, "../../x")}
    answer = client.post("/v1/videos", files=files)
    video = finished(client, answer.json()["id"])
    assert video["status"] == "completed"
    names = {path.name for path in (settings.jobs / video["id"]).iterdir()}
    assert names == {"portrait", "speech", "stream.mp4", "video.mp4", "thumbnail.webp"}
    assert {path.name for path in settings.folder.iterdir()} <= {
        *("jobs", "portraits", "server.lock", "worker.lock"),
        *("jobs.sqlite", "jobs.sqlite-wal", "jobs.sqlite-shm"),
    }


@pytest.mark.parametrize("video", ["..", "%2e%2e", "..%2f..%2fjobs.sqlite", "video_%00", "x" * 65, "video_x/../../x"])
def test_ids_lead_nowhere(client, video):
    for part in ("", "/stream", "/content", "/events"):
        assert client.get(f"/v1/videos/{video}{part}").status_code in (404, 422)


def test_a_list_of_files_for_a_speech_opens_none(client, speech):
    neighbour = client.app.state.server.settings.jobs
    (neighbour / "secret.wav").write_bytes(speech)
    try:
        for text in (
            "ffconcat version 1.0\nfile ../secret.wav\n",
            f"ffconcat version 1.0\nfile {neighbour}/secret.wav\n",
        ):
            video = finished(client, send(client, text.encode()).json()["id"])
            assert video["error"]["code"] == "audio_error"
    finally:
        (neighbour / "secret.wav").unlink()


def test_files_are_for_the_owner_of_the_server_only(client, speech):
    settings = client.app.state.server.settings
    for folder in (settings.jobs, settings.portraits):
        assert folder.stat().st_mode & 0o077 == 0
    if os.name == "posix":
        assert (settings.folder / "jobs.sqlite").stat().st_mode & 0o077 == 0


def test_a_fault_of_ours_shows_nothing_of_us(client, speech, monkeypatch, caplog):
    from kptalk.face import portraits

    def broken(*_):
        raise RuntimeError(f"secret at {Path.cwd()}")

    monkeypatch.setattr(client.app.state.server.store, "page", broken)
    with caplog.at_level(logging.CRITICAL):
        assert client.get("/v1/videos").json() == {"error": {"code": "internal_error", "message": "internal error"}}
        monkeypatch.setattr(portraits, "find_portrait", broken)
        video = finished(client, send(client, speech, photo() + b"another file").json()["id"])
    assert video["error"] == {"code": "internal_error", "message": "the video could not be made"}


def test_the_database_takes_text_as_text(client, speech):
    for text in ("x' or '1'='1", "'; drop table job; --", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        assert client.get("/v1/videos", params={"after": text}).status_code in (404, 422)
        assert send(client, speech, headers={"Idempotency-Key": text.encode("latin-1")}).status_code == 202
    assert client.get("/v1/videos").status_code == 200


def test_streams_are_bounded(serve, speech):
    with serve(viewers=1) as client:
        video = made(client, speech)["id"]
        server = client.app.state.server
        server.viewers = 1
        answer = client.get(f"/v1/videos/{video}/stream")
        assert refused(answer, 503, "too_many_viewers")
        server.viewers = 0
        assert client.get(f"/v1/videos/{video}/stream").status_code == 200
        assert server.viewers == 0


def test_a_viewer_who_takes_nothing_is_let_go_and_stops_nobody(serve, speech):
    with serve(idle_seconds=0.1) as client:
        server, video = client.app.state.server, made(client, speech)["id"]
        sent = []

        async def blocked(message):
            sent.append(message["type"])
            if len(sent) > 2:
                await asyncio.sleep(60)

        async def stays():
            await asyncio.sleep(60)

        async def blocks():
            async for block in follow.growing_file(server, video):
                for start in range(0, len(block), 1000):
                    yield block[start : start + 1000]

        async def watch():
            response = follow.GrowingResponse(server, blocks(), follow.stream_type)
            await asyncio.wait_for(response({"type": "http"}, stays, blocked), 5)

        asyncio.run(watch())
        assert server.viewers == 0
        assert made(client, speech)["status"] == "completed"
