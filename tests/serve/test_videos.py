"""The API of videos: its objects, options, order, errors; what OpenAI's client makes of it."""

import errno
import io
import itertools
import json
import os
import sqlite3
import time

import av
import pytest
from fakes import facemesh_space, plain_portrait
from fastapi.routing import APIRoute
from openai import OpenAI
from serving import finished, made, photo, recording, refused, send

from kptalk.options import Control, Options
from kptalk.serve.app import clean
from kptalk.serve.store import PortraitRequest, Store

MINE = {"id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "seconds", "size"}


def frames_of(content):
    with av.open(io.BytesIO(content)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_video_is_made_and_can_be_downloaded(client, speech):
    answer = send(client, speech)
    assert answer.status_code == 202
    assert answer.json()["object"] == "video"
    assert answer.json()["status"] in ("queued", "in_progress", "completed")
    video = finished(client, answer.json()["id"])
    assert set(video) >= MINE
    assert (video["status"], video["progress"], video["size"], video["seconds"]) == (
        "completed",
        100,
        "128x128",
        "1.00",
    )
    assert video["expires_at"] - video["completed_at"] == 24 * 3600
    assert video["error"] is None
    content = client.get(f"/v1/videos/{video['id']}/content")
    assert content.headers["content-type"] == "video/mp4"
    assert content.headers["content-disposition"] == f'attachment; filename="{video["id"]}.mp4"'
    assert len(frames_of(content.content)) == 25
    with av.open(io.BytesIO(content.content)) as container:
        assert container.duration == 1_000_000
        assert json.loads(container.metadata["description"])["synthetic"] is True
        assert container.streams.audio[0].codec_context.name == "aac"


def test_parts_of_the_content_are_sent(client, speech):
    path = f"/v1/videos/{made(client, speech)['id']}/content"
    whole = client.get(path).content
    part = client.get(path, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    assert client.get(path, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_a_thumbnail_is_the_first_frame(client, speech):
    from PIL import Image

    answer = client.get(f"/v1/videos/{made(client, speech)['id']}/content", params={"variant": "thumbnail"})
    assert answer.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (128, 128)


def test_options_are_those_of_the_library_and_change_the_video(client, speech):
    plain, turned = made(client, speech), made(client, speech, seed="7", yaw="12.5", ease_in_out="false", fps="30")
    assert turned["options"] == {"seed": 7, "yaw": 12.5, "ease_in_out": False, "fps": "30"}
    assert (turned["fps"], turned["frames"], plain["frames"]) == (30, 30, 25)
    assert made(client, speech, yaw="")["options"] == {}
    form = client.get("/openapi.json").json()["components"]["schemas"]["Body_create_v1_videos_post"]["properties"]
    for options in (Options, Control):
        for name, each in options.__dataclass_fields__.items():
            if each.metadata:
                assert form[name]["description"] == each.metadata["help"]
    assert form["yaw"]["anyOf"][0] == {"type": "number", "minimum": -30, "maximum": 30}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"yaw": "90"}, "yaw"),
        ({"framing": "whole"}, "framing"),
        ({"fps": "fast"}, "fps"),
        ({"pose": "/etc/passwd.mp4"}, "pose"),
        ({"style": "../../jobs.sqlite"}, "style"),
        ({"seed": "one"}, "seed"),
        ({"sizee": "256"}, "sizee"),
        ({"face": "0"}, "face"),
        ({"portrait_id": "portrait_0"}, "portrait"),
    ],
)
def test_wrong_options_are_refused_by_name(client, speech, fields, word):
    answer = send(client, speech, **fields)
    assert answer.status_code == 422
    assert refused(answer, 422, answer.json()["error"]["code"], word)


def test_without_a_portrait_or_speech_nothing_is_made(client, speech):
    assert refused(client.post("/v1/videos", files={"speech": speech}), 422, "invalid_request", "portrait")
    assert refused(client.post("/v1/videos", files={"portrait": photo()}), 422, "invalid_request", "speech")
    assert refused(
        client.post("/v1/videos", files={"portrait": photo(), "speech": b""}), 422, "invalid_request", "empty"
    )
    assert refused(client.post("/v1/videos"), 422, "invalid_request")


def test_what_cannot_be_used_fails_with_a_reason_and_no_path(client, speech):
    reasons = {
        "image_error": (b"no picture", speech),
        "audio_error": (None, b"no sound at all"),
        "face_not_found": (photo(130), speech),
    }
    for code, (portrait, sound) in reasons.items():
        video = finished(client, send(client, sound, portrait).json()["id"])
        assert (video["status"], video["error"]["code"]) == ("failed", code)
        assert "/" not in video["error"]["message"]
        for part in ("stream", "content"):
            assert refused(client.get(f"/v1/videos/{video['id']}/{part}"), 422, code)


def test_videos_are_listed_in_pages(serve, speech):
    with serve() as client:
        ids = [made(client, speech)["id"] for _ in range(3)]
        page = client.get("/v1/videos", params={"limit": 2}).json()
        assert [each["id"] for each in page["data"]] == [ids[2], ids[1]]
        assert (page["has_more"], page["last_id"]) == (True, ids[1])
        rest = client.get("/v1/videos", params={"limit": 2, "after": ids[1]}).json()
        assert ([each["id"] for each in rest["data"]], rest["has_more"]) == ([ids[0]], False)
        assert [each["id"] for each in client.get("/v1/videos?order=asc").json()["data"]] == ids
        assert refused(client.get("/v1/videos?limit=0"), 422, "invalid_request", "limit")
        assert refused(client.get("/v1/videos?after=video_x"), 404, "not_found")


def test_a_repeated_request_gives_the_same_video(client, speech):
    key = {"Idempotency-Key": "one"}
    first, again = (send(client, speech, headers=key, yaw="3").json()["id"] for _ in range(2))
    assert first == again
    assert refused(send(client, speech, headers=key, yaw="4"), 409, "idempotency_mismatch")
    assert send(client, speech, headers={"Idempotency-Key": "two"}, yaw="3").json()["id"] != first


def test_a_deleted_video_is_gone(client, speech, tmp_path):
    video = made(client, speech)["id"]
    folder = client.app.state.server.settings.jobs / video
    assert (folder / "video.mp4").is_file()
    assert client.delete(f"/v1/videos/{video}").json() == {"id": video, "object": "video.deleted", "deleted": True}
    assert not folder.exists()
    assert refused(client.get(f"/v1/videos/{video}"), 404, "not_found")
    assert refused(client.delete(f"/v1/videos/{video}"), 404, "not_found")


def test_deleting_an_unfinished_video_cancels_it(serve, tmp_path):
    with serve() as client:
        video = send(client, recording(tmp_path, 300.0)).json()["id"]
        client.delete(f"/v1/videos/{video}")
        assert finished(client, video)["status"] == "cancelled"
        assert refused(client.get(f"/v1/videos/{video}/stream"), 410, "cancelled")
        assert made(client, recording(tmp_path))["status"] == "completed"  # the worker goes on
        assert not (client.app.state.server.settings.jobs / video).exists()
        client.delete(f"/v1/videos/{video}")
        assert client.get(f"/v1/videos/{video}").status_code == 404


def test_files_expire(serve, speech):
    with serve(keep=50.0) as client:
        server = client.app.state.server
        video = made(client, speech)["id"]
        client.post("/v1/portraits", files={"portrait": photo()})
        left = server.settings.jobs / "left-by-a-killed-server"
        left.mkdir()
        os.utime(left, (0, 0))
        clean(server, time.time() + 40)
        assert client.get(f"/v1/videos/{video}/content").status_code == 200
        assert not left.exists()
        clean(server, time.time() + 60)
        assert client.get(f"/v1/videos/{video}").json()["status"] == "expired"
        assert refused(client.get(f"/v1/videos/{video}/content"), 410, "expired")
        assert [*server.settings.jobs.iterdir(), *server.settings.portraits.iterdir()] == []


@pytest.mark.parametrize("hours", [1000, -1000])
def test_a_clock_that_is_set_expires_nothing_early_and_keeps_nothing_for_ever(serve, speech, monkeypatch, hours):
    monkeypatch.setattr("kptalk.serve.app.HOUSEKEEPING", 0.02)
    with serve(keep=50.0) as client:
        video = made(client, speech)["id"]
        store = client.app.state.server.store
        store.add_portrait(PortraitRequest("photo", "", time.time(), "digest"))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + 3600 * hours)
        time.sleep(0.3)
        found = client.get(f"/v1/videos/{video}").json()
        assert found["status"] == "completed"
        assert 0 < found["expires_at"] - time.time() <= 51
        assert 0 <= time.time() - store.portrait("photo").created < 40
        clean(client.app.state.server, time.time() + 60)
        assert client.get(f"/v1/videos/{video}").json()["status"] == "expired"
        assert store.portrait("photo") is None


def test_a_clock_that_runs_back_changes_no_turn(serve, speech, monkeypatch):
    """Every look at it shows an hour less: nobody waits, and no time on /metrics is negative."""
    hours = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600 * next(hours))
    with serve() as client:
        videos = [send(client, speech, seed=seed).json()["id"] for seed in range(2)]
        with client.stream("GET", f"/v1/videos/{videos[1]}/stream") as answer:
            assert len(answer.read()) > 1000
        assert [finished(client, video)["status"] for video in videos] == ["completed"] * 2
        assert 0 <= client.app.state.server.store.totals()["first_fragment_seconds"] < 40
        viewed = client.app.state.server.store.get(videos[1]).viewed_since
        assert 0 <= time.monotonic() - viewed < 60


def test_a_worker_whose_store_is_full_goes_on_when_it_is_not(serve, speech, monkeypatch):
    """The job begins anew: a generator that an error has ended must not pass for a video that is complete."""
    update, left = Store.update, list(range(6))

    def full(self, job, **values):
        if "frames" in values and left:
            raise sqlite3.OperationalError(f"database or disk is full {left.pop()}")
        update(self, job, **values)

    monkeypatch.setattr(Store, "update", full)
    with serve() as client:
        video = made(client, speech)
        assert not left
        assert video["seconds"] == "1.00"
        assert len(frames_of(client.get(f"/v1/videos/{video['id']}/content").content)) == 25


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_request_that_finds_the_disk_full_is_told_so(client, speech, monkeypatch, error):
    def full(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", full)
        answer = send(client, speech)
    assert refused(answer, 507, "disk_full", "try again later")
    assert answer.headers["retry-after"] == "600"
    made(client, speech)


def test_a_disk_that_is_full_does_not_end_the_housekeeping(serve, speech, monkeypatch):
    monkeypatch.setattr("kptalk.serve.app.HOUSEKEEPING", 0.02)
    with serve(keep=0.5) as client:
        store = client.app.state.server.store
        with monkeypatch.context() as patch:
            patch.setattr(store, "expire", lambda _: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
            video = made(client, speech)["id"]
            time.sleep(0.2)
        until = time.monotonic() + 10
        while client.get(f"/v1/videos/{video}").json()["status"] != "expired" and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get(f"/v1/videos/{video}").json()["status"] == "expired"


def test_openai_s_client_lists_polls_and_downloads(client, speech):
    mine = OpenAI(base_url="http://testserver/v1", api_key="any", http_client=client)
    video = mine.videos.retrieve(send(client, speech).json()["id"])
    done = mine.videos.poll(video.id, poll_interval_ms=20)
    assert (done.status, done.progress, done.error) == ("completed", 100, None)
    content = mine.videos.download_content(done.id).read()
    assert len(frames_of(content)) == 25
    assert mine.videos.download_content(done.id, variant="thumbnail").read()[8:12] == b"WEBP"
    assert done.id in [each.id for each in mine.videos.list(limit=100)]
    assert [each.id for each in mine.models.list()] == ["kptalk-embedded"]
    assert mine.videos.delete(done.id).deleted


def test_a_photo_can_be_looked_at_before(client, speech, monkeypatch):
    from kptalk.face.find import Candidate, FoundFaces
    from kptalk.serve import render

    face = plain_portrait(facemesh_space()).face
    monkeypatch.setattr(render, "find_faces", lambda image: FoundFaces(image, 0, [Candidate(face, 0.0, 1.0)]))
    answer = client.post("/v1/portraits", files={"portrait": photo()})
    assert answer.status_code == 201
    found = answer.json()
    assert (found["object"], found["width"], found["face"], found["turned"]) == ("portrait", 128, 1, 0)
    assert found["faces"][0]["box"] == pytest.approx(face.box, abs=0.06)
    files, fields = {"speech": speech}, {"portrait_id": found["id"]}
    video = client.post("/v1/videos", files=files, data=fields).json()["id"]
    assert finished(client, video)["status"] == "completed"
    assert refused(client.post("/v1/portraits", files={"portrait": b"none"}), 422, "image_error")
    assert refused(client.post("/v1/videos", files=files, data={"portrait_id": "x"}), 404, "not_found")


def test_the_server_says_how_it_is(client):
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").status_code == 200
    assert client.get("/v1/models").json()["data"][0]["id"] == "kptalk-embedded"
    page = client.get("/docs").text
    for route in client.app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            assert route.path in page
    assert "http://" not in page
    assert "https://" not in page


def test_metrics_count_videos(serve, speech):
    with serve() as client:
        made(client, speech)
        finished(client, send(client, b"none").json()["id"])
        text = client.get("/metrics").text
        for line in (
            'kptalk_videos_finished_total{status="completed"} 1.0',
            'kptalk_videos_finished_total{status="failed"} 1.0',
            "kptalk_frames_total 25.0",
            "kptalk_first_fragment_seconds_count 1.0",
            "kptalk_ready 1.0",
        ):
            assert line in text


def test_memory_is_given_back_after_every_video(client, speech, monkeypatch):
    given = []
    monkeypatch.setattr("kptalk.serve.making.release_memory", lambda: given.append(True))
    made(client, speech)
    refused_later = send(client, b"no sound").json()["id"]
    assert finished(client, refused_later)["status"] == "failed"
    until = time.monotonic() + 5
    while len(given) < 2 and time.monotonic() < until:  # after the video is said to be finished
        time.sleep(0.01)
    assert len(given) == 2
