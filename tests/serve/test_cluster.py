"""A server whose videos are made by replicas on a Ray cluster, with stand-ins for the models."""

import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from serving import finished, load_in_replica, photo, recording, send

from kptalk.serve.app import create_app
from kptalk.serve.cluster import ClusterWorkers
from kptalk.serve.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(ray_cluster, tmp_path_factory):
    settings = Settings(tmp_path_factory.mktemp("served"), hosts=("testserver",), free_bytes=0, speech_seconds=120)
    workers = partial(ClusterWorkers, replicas=1, load=load_in_replica)
    with TestClient(create_app(settings, workers)) as client:
        until = time.monotonic() + 120
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        yield client


def test_videos_come_from_a_replica(served, tmp_path):
    first, second = (send(served, recording(tmp_path, 1.0), seed=seed).json()["id"] for seed in (1, 1))
    for video in (first, second):
        found = finished(served, video, 60)
        assert (found["status"], found["seconds"], found["progress"]) == ("completed", "1.00", 100), found
    videos = [served.get(f"/v1/videos/{video}/content").content for video in (first, second)]
    assert videos[0] == videos[1]
    assert len(videos[0]) > 1000
    streamed = served.get(f"/v1/videos/{first}/stream").content
    assert streamed[4:8] == b"ftyp"
    assert served.get(f"/v1/videos/{first}/content", params={"variant": "thumbnail"}).status_code == 200


def test_what_cannot_be_made_says_why_without_paths(served, tmp_path):
    found = finished(served, send(served, recording(tmp_path), photo(64)).json()["id"], 60)
    assert found["error"] == {"code": "face_not_found", "message": "no human face found in the picture"}
    found = finished(served, send(served, b"no sound").json()["id"], 60)
    assert found["error"]["code"] == "audio_error"
    assert "/" not in found["error"]["message"]


def test_a_cancelled_video_lets_the_next_one_begin(served, tmp_path):
    long = send(served, recording(tmp_path, 100.0)).json()["id"]
    wait_for(lambda: served.get(f"/v1/videos/{long}").json()["progress"] > 0)
    assert served.delete(f"/v1/videos/{long}").status_code == 200
    found = finished(served, send(served, recording(tmp_path, 0.5)).json()["id"], 60)
    assert found["status"] == "completed"


def test_replicas_are_confined_as_far_as_ray_lets(served):
    pid = (served.app.state.server.settings.folder / "replica.pid").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()
    for what, most in (("core file size", 0), ("file size", (1 << 30) + 120 * (16 << 20)), ("data size", 20 << 30)):
        assert int(re.search(rf"Max {what} +(\d+)", limits)[1]) <= most
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


def test_a_replica_that_dies_loses_nothing(served, tmp_path):
    """Who watches gets the same bytes as if nothing had happened."""
    speech = recording(tmp_path, 40.0)
    expected = send(served, speech, seed=5).json()["id"]
    assert finished(served, expected, 120)["status"] == "completed"
    video = send(served, speech, seed=5).json()["id"]
    wait_for(lambda: served.get(f"/v1/videos/{video}").json()["progress"] > 5)
    pid = served.app.state.server.settings.folder / "replica.pid"
    os.kill(int(pid.read_text()), signal.SIGKILL)
    found = finished(served, video, 120)
    assert found["status"] == "completed", found
    for path in ("content", "stream"):
        mine, theirs = (served.get(f"/v1/videos/{each}/{path}").content for each in (video, expected))
        assert mine == theirs
    assert served.app.state.server.workers.restarts == 1


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
