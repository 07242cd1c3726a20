"""What is installed where: the lock is complete, and the wheel works by itself, offline, from any folder; and the files
beside the code are what their readers expect.
"""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from datetime import date
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from skimage.data import astronaut

ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "src/kptalk/weights/embedded"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
# The headless wheel of the same version stands in for it, see [tool.uv] in pyproject.toml.
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
    """Names and versions of all that is installed because of a requirement; what kptalk needs is in pyproject.toml."""
    todo, seen, found = [Requirement(root)], set(), {}
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if (name, frozenset(wanted.extras)) in seen or name.startswith(GPU_ONLY):
            continue
        seen.add((name, frozenset(wanted.extras)))
        if name == "kptalk":
            todo += [Requirement(line) for line in PROJECT["dependencies"]]
            todo += [Requirement(line) for extra in wanted.extras for line in PROJECT["optional-dependencies"][extra]]
            continue
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


def test_the_lock_is_what_is_needed_and_no_more():
    needed = closure("kptalk[test]")
    assert {canonicalize_name(name) for name in PINS} == set(needed) - {"torch"}, "run 'make lock'"
    different = {name: (pin, needed[canonicalize_name(name)]) for name, pin in PINS.items()}
    assert not {name: both for name, both in different.items() if both[0] != both[1]}, (
        "run 'make test': it updates .venv"
    )


def test_the_lock_is_what_pyproject_allows():
    pins = {canonicalize_name(name): pin for name, pin in PINS.items()}
    lines = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name not in ("kptalk", "torch"):
            assert requirement.specifier.contains(pins[SAME_CODE.get(name, name)]), f"{requirement}: run 'make lock'"


def test_every_extra_is_tested():
    assert set(PROJECT["optional-dependencies"]) == {"example", "plot", "evaluate", "docs", "test"}
    needed = set(closure("kptalk[test]"))
    assert all(set(closure(f"kptalk[{extra}]")) <= needed for extra in PROJECT["optional-dependencies"])


def test_what_the_code_imports_is_declared():
    """Of the packages that come with others, none is relied upon."""
    homes = {"PIL": "pillow", "cv2": "opencv-contrib-python", "skimage": "scikit-image"}
    imported = {name.split(".")[0] for path in (ROOT / "src").rglob("*.py") for name in imports(path)}
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["evaluate"], *extras["plot"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    foreign = imported - set(sys.stdlib_module_names) - {"_typeshed"}  # the latter for type checkers only
    assert {canonicalize_name(homes.get(name, name)) for name in foreign} - declared == set()


def imports(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_python_versions_agree():
    versions = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == ">=3.11,<3.13"
    assert versions == ["3.11", "3.12"]
    test = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    assert test["strategy"]["matrix"]["python"] == versions
    assert ".ci/run" in [step.get("run") for step in test["steps"]]


def test_commit_hooks_run_what_is_installed_here():
    """So nothing is downloaded when somebody commits."""
    path = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", path], check=True, capture_output=True)
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert set(hooks) == {"ruff", "ruff-format", "mypy", "check-added-large-files"}
    for hook in hooks.values():
        program = Path(hook["entry"].split()[0])
        assert hook["language"] == "system"
        assert program.parent == Path(".venv/bin")
        assert (Path(sys.prefix) / "bin" / program.name).is_file()


def test_the_citation_names_both_papers():
    """The keys that CFF 1.2.0 requires, and no dates or addresses that nobody knows."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] in (ROOT / "src/kptalk/version.py").read_text()
    assert citation["license"] == PROJECT["license"]
    papers = citation["references"]
    assert all({"type", "title", "authors"} <= set(paper) and paper["year"] <= date.today().year for paper in papers)
    assert [paper["title"].split()[0] for paper in papers] == ["Unlock", "Landmark-guided"]


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
