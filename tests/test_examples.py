"""The examples do what they say, with stand-ins for the models or recordings of a second."""

import asyncio
import io
import re
import runpy
import threading
from fractions import Fraction
from pathlib import Path

import nbformat
import numpy as np
import pytest
from fakes import facemesh_space, fake_pipeline, plain_portrait, random_motion
from fastapi.testclient import TestClient
from nbclient import NotebookClient
from PIL import Image
from recordings import write_clip, write_sound
from skimage.data import astronaut
from speaking import streams

from kptalk.media.clip import probe

EXAMPLES = Path(__file__).parents[1] / "examples"
RATE = 16_000


def example(name):
    """The functions of an example, which is not run."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def hum(seconds):
    """(1, N) float32."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 140 * t))[None].astype(np.float32)


@pytest.fixture(scope="module")
def pipeline():
    return fake_pipeline(facemesh_space())


@pytest.fixture
def portrait(pipeline):
    return plain_portrait(pipeline.method.space)


@pytest.fixture
def speech(tmp_path):
    write_sound(tmp_path / "speech.wav", hum(0.6), RATE)
    return tmp_path / "speech.wav"


def test_stream_writes_every_frame(pipeline, portrait, speech):
    sink = io.BytesIO()
    assert example("stream")["stream"](pipeline, portrait, speech, sink) == 15
    assert len(sink.getvalue()) == 15 * 256 * 256 * 3


def test_batch_goes_on_after_a_bad_photo(pipeline, portrait, speech, tmp_path, monkeypatch):
    Image.fromarray(portrait.image).save(tmp_path / "anna.png")
    monkeypatch.setattr("kptalk.pipeline.find_portrait", lambda image, *_: plain_portrait(pipeline.method.space))
    names = [str(tmp_path / name) for name in ("missing.png", "anna.png")]
    failed = example("batch")["batch"](pipeline, speech, tmp_path / "out", names)
    assert list(failed) == names[:1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["anna.mp4"]


def test_nod_moves_the_pitch_alone(pipeline, portrait, speech, tmp_path):
    space, functions = pipeline.method.space, example("nod")
    motion = random_motion(50)
    nodded = functions["nod"](motion, degrees=5.0, beats_per_minute=60)
    change = nodded.rotation - motion.rotation
    assert np.ptp(change[:, 1]) == pytest.approx(10, abs=0.1)
    assert not change[:, [0, 2]].any()
    assert np.allclose(space.to_head_frame(nodded), space.to_head_frame(motion), atol=1e-5)
    functions["nodding"](pipeline, portrait, speech, tmp_path / "nodding.mp4")
    clip = probe(tmp_path / "nodding.mp4")
    assert clip.has_audio
    assert clip.duration == pytest.approx(0.6, abs=0.05)


def test_a_metric_of_ones_own_is_measured(tmp_path, monkeypatch, capsys):
    for name, grey in (("real", 100), ("ours", 120)):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / "a.mp4", np.full((5, 64, 64, 3), grey, np.uint8), Fraction(25), hum(0.2), RATE)
    monkeypatch.setattr("sys.argv", ["metric.py", str(tmp_path / "real"), str(tmp_path / "ours")])
    runpy.run_path(str(EXAMPLES / "metric.py"), run_name="__main__")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "brightness" in line]
    real, ours = re.findall(r"\d+\.\d+", row)
    assert float(real) == 0
    assert float(ours) == pytest.approx(20, abs=1.5)  # encoded in between


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text()
    assert len(text.splitlines()) < 85
    assert f"python examples/{path.name}" in text.split('"""')[1]


# A web server


@pytest.fixture
def app(pipeline, monkeypatch):
    monkeypatch.setattr("kptalk.pipeline.find_portrait", lambda image, *_: plain_portrait(pipeline.method.space))
    return example("web")["web_app"](pipeline)


@pytest.fixture
def form(portrait):
    """What a browser sends: a photo, and a recording of so many seconds."""

    def filled(folder, seconds=0.6):
        write_sound(folder / "speech.wav", hum(seconds), RATE)
        Image.fromarray(portrait.image).save(folder / "face.png")
        return {
            "portrait": ("face.png", (folder / "face.png").read_bytes(), "image/png"),
            "speech": ("speech.wav", (folder / "speech.wav").read_bytes(), "audio/wav"),
        }

    return filled


def test_the_web_server_answers_with_a_video(app, form, tmp_path):
    with TestClient(app) as client:
        answer = client.post("/animate?seed=3", files=form(tmp_path))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        (tmp_path / "answer.mp4").write_bytes(answer.content)
        assert streams(tmp_path / "answer.mp4")[0] == 15
        bad = client.post("/animate", files={**form(tmp_path), "speech": ("a.wav", b"no sound", "audio/wav")})
        assert bad.status_code == 422
        assert "\n" not in bad.json()["detail"]
        assert (
            client.post("/animate?framing=half", files=form(tmp_path)).json()["detail"].startswith("framing is 'half'")
        )


def test_the_web_server_stops_when_the_client_hangs_up(app, pipeline, form, tmp_path):
    """Spoken to as a server does, since its test client always listens to the end."""
    request = TestClient(app).build_request("POST", "http://test/animate", files=form(tmp_path, seconds=120))
    content, hung_up, received = request.read(), asyncio.Event(), []
    pipeline.method.renderer.drawn.clear()

    async def receive():
        if not received:
            received.append(b"")
            return {"type": "http.request", "body": content, "more_body": False}
        await hung_up.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        received.append(message.get("body", b""))
        if received[-1]:
            hung_up.set()

    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {"path": "/animate", "raw_path": b"/animate", "query_string": b"", "headers": headers, "root_path": ""}

    async def talk():
        await app(scope, receive, send)
        while any(thread.name.startswith("asyncio") and thread.is_alive() for thread in threading.enumerate()):
            await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(talk())
    assert any(received)
    assert 0 < sum(pipeline.method.renderer.drawn) < 2000


# A window


@pytest.fixture
def gui(pipeline, portrait, monkeypatch):
    monkeypatch.setattr("kptalk.pipeline.find_portrait", lambda image, *_: plain_portrait(pipeline.method.space))
    return example("gui_thread")


def finished(worker, press=lambda news: None):
    """The window's loop: how the work ended, and all that was shown; ``press`` may use the buttons."""
    shown = []
    worker.start()
    while not shown or shown[-1][0] not in ("done", "cancelled", "failed"):
        news = worker.poll()
        shown += news
        press(news)
    worker.join()
    return shown[-1], [kind for kind, _ in shown[:-1]]


def test_the_window_shows_progress_and_the_end(gui, pipeline, portrait, speech, tmp_path):
    output = tmp_path / "out.mp4"
    end, stages = finished(gui["Worker"](pipeline, portrait, speech, output))
    assert end == ("done", str(output))
    assert {"motion", "drawing", "encoding"} <= set(stages)
    assert streams(output)[0] == 15
    end, _ = finished(gui["Worker"](pipeline, portrait, tmp_path / "absent.wav", output))
    assert end[0] == "failed"


def test_the_window_cancels(gui, pipeline, portrait, tmp_path, capsys):
    write_sound(tmp_path / "long.wav", hum(120), RATE)
    worker = gui["Worker"](pipeline, portrait, tmp_path / "long.wav", tmp_path / "out.mp4")
    end, _ = finished(worker, lambda news: worker.cancel() if ("encoding" in dict(news)) else None)
    assert end == ("cancelled", "")
    early = gui["Worker"](pipeline, portrait, tmp_path / "long.wav", tmp_path / "out.mp4")
    early.cancel()
    assert gui["main_loop"](early) == "cancelled"
    assert "cancelled" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["long.wav"]


# A notebook


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_videos(tmp_path):
    """In a kernel of its own, with the embedded model."""
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # nobody's face is in the repository
    Image.fromarray(astronaut()[:320, 60:380]).save(tmp_path / "face.jpg")
    write_sound(tmp_path / "speech.m4a", hum(0.6), RATE)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        {kind: value for output in cell.outputs for kind, value in output.get("data", {}).items()}
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    loaded, drawn, saved, frames, _ = shown
    assert loaded["text/plain"].startswith("<Pipeline of model 'embedded'")
    assert drawn["text/html"].count("data:video/mp4;base64,") == saved["text/html"].count("data:video/mp4;base64,") == 1
    assert "saved as talk.mp4" in saved["text/html"]
    assert "image/png" in frames
    assert probe(tmp_path / "talk.mp4").has_audio


def test_live_writes_what_is_said(pipeline, portrait, tmp_path, monkeypatch):
    """The microphone is standard input."""
    sound = io.BytesIO((32767 * hum(1.0)[0]).astype("<i2").tobytes() + b"x")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(sound))
    monkeypatch.setattr("sys.argv", ["live.py", "face.jpg", str(tmp_path / "live.mp4")])
    monkeypatch.setattr("kptalk.Pipeline.from_pretrained", lambda: pipeline)
    monkeypatch.setattr(pipeline, "warm_up", lambda: None)
    monkeypatch.setattr("kptalk.pipeline.read_image", lambda _: None)
    monkeypatch.setattr("kptalk.pipeline.find_portrait", lambda *_: portrait)
    example("live")["main"]()
    lead = pipeline.live(portrait).lead
    pictures, seconds, sound_seconds, _ = streams(tmp_path / "live.mp4")
    assert pictures == lead + 25
    assert sound_seconds == pytest.approx(seconds, abs=0.1)
