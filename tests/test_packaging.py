"""What is installed where: the pinned list is complete, and the wheel works by itself, offline, from any folder."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from skimage.data import astronaut

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "src/kptalk/weights/embedded"
# The headless wheel of the same version stands in for it, see constraints.txt.
SAME_CODE = {"opencv-contrib-python": "opencv-contrib-python-headless"}
# Only CUDA builds of torch need these; which ones depends on the build.
GPU_ONLY = ("nvidia-", "cuda-", "triton", "pytorch-triton")
# Any connection ends the process, however well the error is caught.
NO_NETWORK = """
import os, sys
def _refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        os.write(2, f"network used: {event} {args}\\n".encode())
        os._exit(99)
sys.addaudithook(_refuse)
"""


def closure(root):
    """Names and versions of all that is installed because of a requirement."""
    todo, seen, found = [Requirement(root)], set(), {}
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen or name.startswith(GPU_ONLY):
            continue
        seen.add((name, frozenset(wanted.extras)))
        package = installed(name)
        found[SAME_CODE.get(name, name)] = package.version
        for line in package.requires or []:
            inner = Requirement(line)
            if any(applies(inner.marker, extra) for extra in {"", *wanted.extras}):
                todo.append(inner)
    return found


def installed(name):
    try:
        return distribution(SAME_CODE.get(name, name))
    except ModuleNotFoundError:
        return distribution(name)


def applies(marker: Marker | None, extra: str) -> bool:
    return marker is None or marker.evaluate({"extra": extra})


def test_the_pinned_list_is_what_is_needed_and_no_more():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    needed = closure("kptalk[test]")
    assert {canonicalize_name(name) for name in pins} == set(needed) - {"kptalk", "torch"}
    different = {name: (pin, needed[canonicalize_name(name)]) for name, pin in pins.items()}
    assert not {name: both for name, both in different.items() if both[0] != both[1]}, (
        "run 'make test': it updates .venv"
    )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    argv = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT]
    subprocess.run(argv, check=True, capture_output=True)
    (path,) = folder.glob("kptalk-*.whl")
    return path


def test_the_wheel_holds_the_package_and_its_weights_only(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    source = ROOT / "src"
    wanted = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    embedded = ("facemesh", "audio", "lips", "motion", "sync")
    assert {f"kptalk/weights/embedded/{name}.safetensors" for name in embedded} <= names
    assert "kptalk/weights/embedded/MODEL_CARD.md" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 50e6


@pytest.fixture(scope="session")
def empty(wheel, tmp_path_factory):
    """A new environment that holds the wheel, and sees the packages that it depends on, but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    argv = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(argv, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    return folder


def run_there(empty, cwd, *argv):
    """Run in the environment with nothing of the user's: other folder, empty home, no variables, no network."""
    cwd.mkdir(exist_ok=True)
    env = {"PATH": os.defpath, "HOME": str(empty / "home")}
    return subprocess.run([empty / "bin" / argv[0], *argv[1:]], cwd=cwd, env=env, capture_output=True, text=True)


def test_the_wheel_animates_offline_from_any_folder(empty, tmp_path):
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    elsewhere = tmp_path / "else where"
    where = run_there(empty, elsewhere, "python", "-c", "import kptalk; print(kptalk.__file__)")
    assert where.stdout.startswith(str(empty)), where.stderr
    done = run_there(empty, elsewhere, "kptalk", "animate", "../face.png", ROOT / "examples/speech.mp3", "-o", "a.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a.mp4  (")
    assert [path.name for path in elsewhere.iterdir()] == ["a.mp4"]


def test_the_wheel_finds_itself_in_order(empty, tmp_path):
    done = run_there(empty, tmp_path, "kptalk", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "BAD" not in done.stdout
    assert "embedded weights: whole" in done.stdout
    assert "one second drawn: 25 frames" in done.stdout
