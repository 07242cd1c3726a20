"""Whatever is killed, and whenever: an accepted job is completed, with the bytes that it has undisturbed."""

import functools
import os
import shutil
import signal
import time

import pytest
from fastapi.testclient import TestClient
from serving import client_of, finished, load_fake, made, recording, send

from kptalk.errors import OutputError
from kptalk.serve.app import create_app
from kptalk.serve.settings import Settings
from kptalk.serve.supervisor import WorkerProcess

SECONDS = 20.0


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return recording(tmp_path_factory.mktemp("long"), SECONDS)


def files_of(client, video):
    return [client.get(f"/v1/videos/{video}/{part}").content for part in ("stream", "content")]


def at_work(client, video, frames):
    while client.get(f"/v1/videos/{video}").json()["frames"] < frames:
        time.sleep(0.005)


def test_a_server_that_is_started_again_makes_what_was_unfinished(serve, long, tmp_path):
    with serve() as client:
        first, second = (send(client, long, seed=str(seed)).json()["id"] for seed in (1, 2))
        at_work(client, first, 50)
    with serve() as client:
        found = [finished(client, video) for video in (first, second)]
        assert [each["status"] for each in found] == ["completed"] * 2
        assert client.app.state.server.store.get(first).kills == 1
        undisturbed = made(client, long, seed=1)["id"]
        assert files_of(client, first) == files_of(client, undisturbed)
        assert files_of(client, first) != files_of(client, second)


def test_a_job_whose_files_vanish_while_it_is_made_harms_nobody(serve, long, speech):
    """As when it is deleted between two steps of the worker."""
    with serve() as client:
        server = client.app.state.server
        video = send(client, long).json()["id"]
        while client.get(f"/v1/videos/{video}").json()["status"] == "queued":
            time.sleep(0.001)
        shutil.rmtree(server.settings.jobs / video)
        assert finished(client, video)["error"]["code"] in ("storage_error", "audio_error", "internal_error")
        assert made(client, speech)["status"] == "completed"


def test_two_servers_in_one_folder_are_refused(serve, tmp_path):
    with serve(), pytest.raises(OutputError, match="another server is at work"):
        client_of(tmp_path / "served")


@pytest.mark.slow
def test_a_killed_worker_s_jobs_end_with_the_same_bytes(tmp_path, long):
    """A process of its own, with stand-ins for the models; who watches goes on watching."""
    settings = Settings(tmp_path / "served", hosts=("testserver",), free_bytes=0)
    app = create_app(settings, functools.partial(WorkerProcess, load=load_fake))
    with TestClient(app) as client:
        while client.get("/ready").status_code != 200:
            time.sleep(0.05)
        workers = client.app.state.server.workers
        video = send(client, long).json()["id"]
        at_work(client, video, 100)
        os.kill(workers.pid, signal.SIGKILL)
        answer = client.get(f"/v1/videos/{video}/stream")
        assert finished(client, video)["status"] == "completed"
        assert client.app.state.server.store.get(video).kills == 1
        undisturbed = made(client, long)["id"]
        assert answer.content == files_of(client, undisturbed)[0]
        assert files_of(client, video) == files_of(client, undisturbed)
