"""What docs/serve.md and README say, done: the program with the embedded model, curl, Python, the files of deploy."""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError

import httpx
import numpy as np
import pytest
from PIL import Image
from recordings import read_sound, write_sound
from skimage.data import astronaut
from yaml import safe_load

from kptalk.media.audio import Speech
from kptalk.media.clip import probe, read_frames
from kptalk.serve.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE, README = (ROOT / "docs/serve.md").read_text(), (ROOT / "README.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A folder with a photo and a recording, and the address of a server that works there."""
    folder = tmp_path_factory.mktemp("documented")
    Image.fromarray(astronaut()).save(folder / "face.jpg")
    sound = np.concatenate(list(Speech.open(ROOT / "examples/speech.mp3").chunks()))[None, :24_000]
    write_sound(folder / "speech.m4a", sound, 16_000)
    write_sound(folder / "long.wav", np.tile(sound, 80), 16_000)
    argv = [sys.executable, "-m", "kptalk", "serve", "--port", "0"]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split()[-1]
            until = time.monotonic() + 60
            while time.monotonic() < until:
                with suppress(URLError), urllib.request.urlopen(f"{address}/ready"):
                    break
                time.sleep(0.1)
            yield folder, address
            with watching(folder, address) as (_, blocks):
                assert next(blocks)
                server.terminate()
                _, err = server.communicate(timeout=20)
        finally:
            server.kill()
    assert server.returncode == 143
    assert "Traceback" not in err
    assert err.endswith("kptalk: stopped: the videos that are not finished are made at the next start\n")


@contextmanager
def watching(folder, address):
    """A long video while it is made."""
    files = {"portrait": (folder / "face.jpg").read_bytes(), "speech": (folder / "long.wav").read_bytes()}
    with httpx.stream("POST", f"{address}/v1/videos/sync", files=files, timeout=60) as answer:
        yield answer, answer.iter_raw()


def here(text, address):
    return text.replace("http://127.0.0.1:8000", address)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl_commands(running):
    folder, address = running
    commands = [block for block in blocks(PAGE, "sh") + blocks(README, "sh") if "curl" in block]
    assert len(commands) >= 3
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for block in commands:
        script = "\n".join(line for line in block.splitlines() if not line.startswith("kptalk serve"))
        argv = ["bash", "-e", "-c", here(script, address)]
        done = subprocess.run(argv, cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
    for name, size in (("talk.mp4", (512, 512)), ("watched.mp4", (512, 512)), ("finished.mp4", (512, 512))):
        assert probe(folder / name).size == size
        assert 37 <= len(list(read_frames(folder / name))) <= 40  # AAC fills its last packet
        samples, rate, _ = read_sound(folder / name)
        assert samples.shape[1] / rate == pytest.approx(1.5, abs=0.15)
    watched, finished = (list(read_frames(folder / name)) for name in ("watched.mp4", "finished.mp4"))
    assert np.array_equal(watched, finished)
    with Image.open(folder / "first.webp") as image:
        assert image.format == "WEBP"
    moved = np.abs(np.int16(watched[15]) - np.int16(watched[0])).mean()
    assert 0.2 < moved < 30  # a face that speaks, not a still and not noise


@pytest.mark.slow
def test_python_examples(running, monkeypatch):
    folder, address = running
    monkeypatch.chdir(folder)
    examples = blocks(PAGE, "python")
    assert len(examples) == 2
    for block in examples:
        (folder / "talk.mp4").unlink(missing_ok=True)
        exec(compile(here(block, address), "serve.md", "exec"), {})
        assert probe(folder / "talk.mp4").has_audio


@pytest.mark.slow
def test_who_leaves_sync_over_http_cancels(running):
    folder, address = running
    with watching(folder, address) as (answer, blocks):
        assert next(blocks)[4:8] == b"ftyp"
        video = f"{address}/v1/videos/{answer.headers['x-video-id']}"
        assert httpx.get(video).json()["status"] == "in_progress"
    until = time.monotonic() + 10
    while httpx.get(video).json()["status"] == "in_progress":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert httpx.get(video).json()["status"] == "cancelled"


def test_the_limits_that_the_page_names_are_the_program_s():
    settings = Settings(Path("."))
    said = " ".join(PAGE.split())
    for text in (
        f"{settings.portrait_bytes >> 20} MB for a photo of at most {settings.portrait_pixels // 1_000_000} megapixels",
        f"{settings.speech_bytes >> 20} MB for a recording of at most {settings.speech_seconds / 60:g} minutes",
        f"{settings.waiting} videos waiting, {settings.waiting_per_key} for each of several keys",
        f"{settings.job_seconds / 60:g} minutes of work, {settings.uploads} uploads and {settings.viewers} streams",
        f"{settings.idle_seconds:g} s without a byte, and {settings.free_bytes >> 30} GB that stays free",
        f"{settings.keep / 3600:g} hours later",
    ):
        assert text in said, text


def test_deployment_files_agree_with_the_program():
    docker = (ROOT / "deploy/Dockerfile").read_text()
    for name in re.search(r"COPY (.*) \./", docker)[1].split():
        assert (ROOT / name).exists(), name
    torch = re.search(r"torch==([\d.]+)", (ROOT / "Makefile").read_text())[1]
    assert f"torch=={torch}" in docker
    compose = safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["kptalk"]
    assert (ROOT / "deploy" / compose["build"]["context"] / compose["build"]["dockerfile"]).is_file()
    assert "KPTALK_API_KEY" in compose["environment"]
    body = (Settings(Path(".")).body_bytes >> 20) + 1
    assert f"client_max_body_size {body}m;" in (ROOT / "deploy/nginx.conf").read_text()
    unit = (ROOT / "deploy/kptalk.service").read_text()
    flags = set(re.findall(r"--[a-z-]+", docker.partition("ENTRYPOINT")[2] + unit.partition("ExecStart")[2]))
    page = (ROOT / "docs/cli.md").read_text().partition("## kptalk serve")[2].partition("\n## ")[0]
    assert flags
    assert all(f"`{flag}`" in page for flag in flags)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_the_unit_is_one_that_systemd_takes(tmp_path):
    text = (ROOT / "deploy/kptalk.service").read_text().replace("/opt/kptalk/bin/kptalk", "/bin/true")
    (tmp_path / "kptalk.service").write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", tmp_path / "kptalk.service"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert "kptalk.service" not in done.stderr, done.stderr
