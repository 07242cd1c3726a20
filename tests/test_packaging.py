"""The lock is complete, and the files beside the code are what their readers expect."""

import ast
import re
import subprocess
import sys
import tomllib
from datetime import date
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kptalk.cli.doctor import PACKAGES


def applies(marker: Marker | None, extra: str) -> bool:
    return marker is None or marker.evaluate({"extra": extra})


ROOT = Path(__file__).parents[1]
EMBEDDED = ROOT / "src/kptalk/weights/embedded"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
# name -> version, of this system and Python
PINS = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in LOCK if applies(pin.marker, "")}
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
        package = distribution(name)
        found[name] = package.version
        for line in package.requires or []:
            inner = Requirement(line)
            if any(applies(inner.marker, extra) for extra in {"", *wanted.extras}):
                todo.append(inner)
    return found


def test_the_lock_is_what_is_needed_and_no_more():
    needed = closure("kptalk[test]")
    assert set(PINS) == set(needed) - {"torch"}, "run 'make lock'"
    different = {name: (pin, needed[name]) for name, pin in PINS.items()}
    assert not {name: both for name, both in different.items() if both[0] != both[1]}, (
        "run 'make test': it updates .venv"
    )


def test_the_lock_is_what_pyproject_allows():
    lines = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name not in ("kptalk", "torch"):
            assert requirement.specifier.contains(PINS[name]), f"{requirement}: run 'make lock'"


def test_the_program_needs_few_packages():
    """Torch counted with what its CPU build needs, kptalk itself not."""
    assert len(closure("kptalk")) < 50


def test_the_doctor_looks_at_what_is_needed():
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert set(map(canonicalize_name, PACKAGES)) == declared - {"rich", "typer"}  # without which it could not start


def test_every_extra_is_tested():
    needed = set(closure("kptalk[test]"))
    assert all(set(closure(f"kptalk[{extra}]")) <= needed for extra in PROJECT["optional-dependencies"])


def test_what_the_code_imports_is_declared():
    """Of the packages that come with others, none is relied upon."""
    homes = {"PIL": "pillow", "cv2": "opencv-python-headless", "skimage": "scikit-image", "c2pa": "c2pa-python"}
    imported = {name.split(".")[0] for path in (ROOT / "src").rglob("*.py") for name in imports(path)}
    extras = (lines for name, lines in PROJECT["optional-dependencies"].items() if name not in ("docs", "test"))
    lines = [*PROJECT["dependencies"], *chain.from_iterable(extras)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    foreign = imported - set(sys.stdlib_module_names) - {"_typeshed"}  # the latter for type checkers only
    assert {canonicalize_name(homes.get(name, name)) for name in foreign} - declared == set()


def test_what_one_system_has_is_imported_only_where_it_is_used():
    """So that every file can be imported on Windows."""
    systems = {"fcntl", "grp", "msvcrt", "posix", "pwd", "resource", "termios", "winreg"}
    for path in (ROOT / "src").rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not systems & set(imports(path, top)), path


def imports(path, nodes=None):
    """The modules that a file imports, anywhere in it or by the given nodes."""
    for node in ast.walk(ast.parse(path.read_text())) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_python_versions_agree():
    versions = [line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert PROJECT["requires-python"] == ">=3.11"
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert [job["strategy"]["matrix"]["python"] for job in jobs.values()] == [versions, versions]
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]


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
