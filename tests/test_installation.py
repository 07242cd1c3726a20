"""The wheel: what is in it, that it works by itself, offline, from any folder, and that the package index has all that
it needs for every system and Python.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

ROOT = Path(__file__).parents[1]
# As uv names them; MACOSX_DEPLOYMENT_TARGET says which macOS.
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin", "x86_64-pc-windows-msvc")
# Any connection ends the process, however well the error is caught.
NO_NETWORK = """
import os, sys
def _refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        os.write(2, f"network used: {event} {args}\\n".encode())
        os._exit(99)
sys.addaudithook(_refuse)
"""


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
    wanted = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    embedded = ("facemesh", "audio", "lips", "motion", "sync")
    assert {f"kptalk/weights/embedded/{name}.safetensors" for name in embedded} <= names
    assert "kptalk/weights/embedded/MODEL_CARD.md" in names
    licences = {name.split("/")[-1] for name in names if ".dist-info/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert wheel.stat().st_size < 50e6


@pytest.fixture(scope="session")
def empty(wheel, tmp_path_factory):
    """A new environment that holds the wheel, and sees the packages that it depends on, but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = programs(folder) / "python"
    argv = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(argv, check=True, capture_output=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    return folder


def programs(environment):
    return Path(sysconfig.get_path("scripts", "venv", {"base": str(environment)}))


def run_there(empty, cwd, *argv):
    """Run in the environment with nothing of the user's: other folder, empty home, no variables, no network."""
    cwd.mkdir(exist_ok=True)
    env = {"PATH": os.defpath, "HOME": str(empty / "home")}
    return subprocess.run([programs(empty) / argv[0], *argv[1:]], cwd=cwd, env=env, capture_output=True, text=True)


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


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("uv"), reason="needs uv, which the test extra installs")
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_every_system_has_wheels_of_all_that_is_needed(python):
    """With the versions of constraints.txt, and torch's newest; for the tests' own packages on Linux alone."""
    wanted = [*((system, ()) for system in SYSTEMS), (SYSTEMS[0], ("--extra", "test"))]
    with ThreadPoolExecutor(len(wanted)) as pool:
        done = list(pool.map(lambda pair: resolve(python, *pair), wanted))
    # What cannot be resolved is said in these words; everything else is the network's fault.
    failed = [run.stderr for run in done if run.returncode]
    assert not [error for error in failed if "No solution found" in error], "\n".join(failed)
    if failed:
        pytest.skip(f"no package index is reached: {failed[0].strip()}")
    for run in done:
        assert {"torch", "numpy", "opencv-python-headless"} <= {line.split("==")[0] for line in run.stdout.splitlines()}


def resolve(python, system, extras):
    """uv reads metadata alone, where pip downloads whole wheels of some indexes."""
    argv = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *extras, "--constraint", "constraints.txt"]
    argv += ["--only-binary", ":all:", "--python-version", python, "--python-platform", system]
    argv += ["--python", sys.executable, "--no-python-downloads", "--no-header", "--no-annotate", "--quiet"]
    env = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0", "UV_HTTP_TIMEOUT": "10"}
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
