"""Videos that are watched while they are made: the bytes, their type, who comes late, who leaves, events."""

import asyncio
import io
import json
import time

import av
import numpy as np
import pytest
import uvicorn
from serving import finished, made, recording, refused, send

from kptalk.serve import follow
from kptalk.serve.follow import HEAD, GrowingResponse, growing_file, stream_type
from kptalk.serve.run import EndingServer


def boxes(content):
    """Kinds of the boxes of an MP4."""
    found, at = [], 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found.append(content[at + 4 : at + 8].decode())
        at += size
    return found


def test_a_stream_is_a_fragmented_mp4_with_the_frames_of_the_content(client, tmp_path):
    video = made(client, recording(tmp_path, 5.0))["id"]
    answer = client.get(f"/v1/videos/{video}/stream")
    assert answer.headers["content-type"] == 'video/mp4; codecs="avc1.640028, mp4a.40.2"'
    assert answer.headers["x-accel-buffering"] == "no"
    kinds = boxes(answer.content)
    assert kinds[:2] == ["ftyp", "moov"]
    assert 25 <= kinds.count("moof") <= 35  # 5 s in fragments of 0.16 s
    content = client.get(f"/v1/videos/{video}/content").content
    assert set(boxes(content)) == {"ftyp", "moov", "free", "mdat"}
    frames = []
    for data in (answer.content, content):
        with av.open(io.BytesIO(data)) as container:
            frames.append([frame.to_ndarray() for frame in container.decode(video=0)])
    assert len(frames[0]) == 125
    assert all(np.array_equal(*pair) for pair in zip(*frames, strict=True))


def test_the_type_says_which_level_a_large_video_has():
    assert stream_type(b"....avcC\x01\x64\x00\x33") == 'video/mp4; codecs="avc1.640033, mp4a.40.2"'


def test_sync_answers_with_the_video(client, speech):
    answer = send(client, speech, path="/v1/videos/sync")
    assert answer.status_code == 200
    video = answer.headers["x-video-id"]
    assert answer.content == client.get(f"/v1/videos/{video}/stream").content
    assert client.get(f"/v1/videos/{video}").json()["status"] == "completed"
    assert refused(send(client, b"none", path="/v1/videos/sync"), 422, "audio_error")


def test_late_and_early_viewers_get_the_same_bytes(serve, tmp_path):
    with serve() as client:
        server = client.app.state.server
        server.workers.paused = True
        video = send(client, recording(tmp_path, 20.0)).json()["id"]

        async def watch(delay):
            await asyncio.sleep(delay)
            return b"".join([block async for block in growing_file(server, video)])

        async def all_of_them():
            watching = [asyncio.create_task(watch(delay)) for delay in (0, 0, 0.3, 0.6)]
            await asyncio.sleep(0.05)
            assert server.store.get(video).viewers == 2
            server.workers.paused = False
            return await asyncio.gather(*watching)

        seen = asyncio.run(all_of_them())
        assert len(set(seen)) == 1
        assert seen[0] == client.get(f"/v1/videos/{video}/stream").content
        assert server.store.get(video).viewers == 0


def test_who_follows_goes_on_when_the_video_is_made_anew(serve, speech):
    """After the worker's end the file grows again from nothing, with the same bytes."""
    with serve() as client:
        server, video = client.app.state.server, made(client, speech)["id"]
        path = server.settings.jobs / video / "stream.mp4"
        whole = path.read_bytes()
        server.store._rows("update job set status = 'in_progress' where id = ?", video)
        server.workers.paused = True

        async def watch():
            got = b""
            async for block in growing_file(server, video):
                got += block
                if len(got) == len(whole) // 2:
                    path.write_bytes(b"")
                    asyncio.get_running_loop().call_later(0.1, path.write_bytes, whole[: len(whole) // 4])
                    asyncio.get_running_loop().call_later(0.2, lambda: (path.write_bytes(whole), done()))
            return got

        def done():
            server.store._rows("update job set status = 'completed' where id = ?", video)

        path.write_bytes(whole[: len(whole) // 2])
        assert asyncio.run(watch()) == whole


def leaving(server, content, after, begun=True):
    """Watch some content with a client that leaves, so many seconds after the first bytes or after it came."""

    async def receive():
        while begun and len(sent) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(after)
        return {"type": "http.disconnect"}

    sent = []

    async def answered(message):
        sent.append(message)

    async def watch():
        await GrowingResponse(server, content, stream_type)({"type": "http"}, receive, answered)

    asyncio.run(asyncio.wait_for(watch(), 60))
    return sent


def test_who_leaves_a_stream_stops_nobody_and_who_leaves_sync_cancels(serve, tmp_path):
    with serve() as client:
        server, long = client.app.state.server, recording(tmp_path, 300.0)
        watched, synced = (send(client, long).json()["id"] for _ in range(2))
        sent = leaving(server, growing_file(server, watched), 0.1)
        assert sent[0]["status"] == 200
        assert sent[-1]["more_body"]
        assert client.get(f"/v1/videos/{watched}").json()["status"] == "in_progress"
        assert server.store.get(watched).viewers == server.viewers == 0
        leaving(server, growing_file(server, synced, cancel=True), 0.1, begun=False)
        assert client.get(f"/v1/videos/{synced}").json()["status"] == "cancelled"
        client.delete(f"/v1/videos/{watched}")
        assert finished(client, watched)["status"] == "cancelled"


def test_who_leaves_just_when_a_block_has_been_taken_gets_no_more(client):
    async def blocks():
        for _ in range(1000):
            yield HEAD

    async def watch(turns):
        left, taken = asyncio.Event(), []

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def answered(message):
            taken.append(message)
            if len(taken) == 5:
                for _ in range(turns):
                    await asyncio.sleep(0)
                left.set()

        await GrowingResponse(client.app.state.server, blocks(), stream_type)({"type": "http"}, receive, answered)
        return len(taken)

    for turns in range(4):
        assert asyncio.run(watch(turns)) < 20


def test_a_stream_that_ends_too_early_is_not_closed_as_if_it_were_whole(serve, tmp_path):
    with serve() as client:
        server = client.app.state.server
        video = send(client, recording(tmp_path, 300.0)).json()["id"]

        async def content():
            async for block in growing_file(server, video):
                yield block
                server.store.cancel(video)

        sent = leaving(server, content(), 60)
        assert sent[-1]["more_body"]


def test_streams_end_when_the_server_does_and_the_video_goes_on_at_the_next_start(serve, tmp_path):
    with serve() as client:
        server = client.app.state.server
        video = send(client, recording(tmp_path, 300.0)).json()["id"]

        async def content(growing):
            async for block in growing:
                yield block
                EndingServer(uvicorn.Config(client.app)).handle_exit(0, None)

        sent = leaving(server, content(growing_file(server, video, cancel=True)), 60)
        assert sent[-1]["more_body"]
        assert server.store.get(video).status == "in_progress"
        events = follow.news(server, server.store.get(video), lambda job: {"status": job.status})

        async def all_of_them():
            return [event async for event in events]

        assert len(asyncio.run(all_of_them())) == 1


def test_events_tell_until_the_end(client, tmp_path):
    video = send(client, recording(tmp_path, 20.0)).json()["id"]
    with client.stream("GET", f"/v1/videos/{video}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [block.split("\n", 1) for block in answer.read().decode().strip().split("\n\n")]
    objects = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert events[-1][0] == "event: completed"
    assert objects[-1] == client.get(f"/v1/videos/{video}").json()
    progress = [each["progress"] for each in objects]
    assert progress == sorted(progress)
    assert {each["id"] for each in objects} == {video}


def test_events_without_news_keep_the_connection_open(serve, speech, monkeypatch):
    monkeypatch.setattr(follow, "QUIET", 0.3)
    with serve() as client:
        server = client.app.state.server
        server.workers.paused = True
        video = send(client, speech).json()["id"]

        async def first(count):
            events = follow.news(server, server.store.get(video), lambda job: {"status": job.status})
            return [await anext(events) for _ in range(count)]

        assert asyncio.run(first(3)) == [b'event: queued\ndata: {"status": "queued"}\n\n', *[b": still here\n\n"] * 2]


def test_content_comes_only_when_it_is_complete(serve, tmp_path):
    with serve() as client:
        video = send(client, recording(tmp_path, 300.0)).json()["id"]
        answer = client.get(f"/v1/videos/{video}/content")
        assert refused(answer, 409, "not_ready")
        assert answer.headers["retry-after"] == "2"


def test_a_viewer_s_video_does_not_wait_for_long_ones(serve, tmp_path):
    """Behind a long job that nobody watches, the first bytes come at once."""
    with serve() as client:
        server = client.app.state.server
        long = [send(client, recording(tmp_path, 300.0)).json()["id"] for _ in range(3)]
        while client.get(f"/v1/videos/{long[0]}").json()["status"] == "queued":
            time.sleep(0.01)
        answer = send(client, recording(tmp_path, 2.0), path="/v1/videos/sync")
        assert answer.status_code == 200
        statuses = [client.get(f"/v1/videos/{each}").json()["status"] for each in long]
        assert statuses == ["in_progress", "queued", "queued"]
        for video in long:
            client.delete(f"/v1/videos/{video}")
        assert server.store.counts()["cancelled"] == 3


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_a_video_that_is_none_has_no_stream(serve, speech, status):
    with serve() as client:
        video = made(client, speech)["id"]
        client.app.state.server.store._rows("update job set status = ? where id = ?", status, video)
        for part in ("stream", "content"):
            assert refused(client.get(f"/v1/videos/{video}/{part}"), 422 if status == "failed" else 410, status)
