"""What the package exports, which way its imports run, and who may touch the world outside."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kptalk

ROOT = Path(kptalk.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Every folder or file may import those of smaller number, and its own. Zero: what everything may use.
ORDER = {
    "errors": 0,
    "version": 0,
    "types": 0,
    "device": 0,
    "weights": 0,
    "media": 1,
    "face": 2,
    "audio": 3,
    "motion": 4,
    "render": 5,
    "animation": 5,
    "systems": 6,
    "pipeline": 7,
    "evaluate": 8,
    "train": 9,
    "__init__": 9,
    "doctor": 9,
    "official": 9,
    "cli": 10,
}
OUTSIDE = {"cli", "device", "weights"}


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_parts(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" if node.module == "kptalk" else node.module for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("kptalk.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = part_of(path)
    assert own in ORDER, f"new folder or file {own}: give it a place in the order"
    for other in imported_parts(path) - {own}:
        assert ORDER[other] < ORDER[own] or ORDER[own] == ORDER[other] == 0, f"{path} imports {other}"


def test_nothing_below_the_command_line_trains_or_parses():
    for path in FILES:
        if part_of(path) not in ("train", "cli"):
            assert not imported_parts(path) & {"train", "cli", "doctor"}, path


def names_used(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    attributes = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = {f".{function.attr}" for function in called if isinstance(function, ast.Attribute)}
    calls = {function.id for function in called if isinstance(function, ast.Name)}
    return attributes | methods | calls


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_a_few_files_touch_the_world(path):
    used = names_used(path)
    assert not used & {".cuda", "breakpoint", "eval", "exec"}
    if part_of(path) != "cli":
        assert "print" not in used
    if part_of(path) not in OUTSIDE:
        world = {"os.environ", "os.getenv", "os.getcwd", "Path.cwd", "os.chdir", "sys.argv", "Path.home", ".expanduser"}
        assert not used & world


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_hold_one_concept(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 400
    assert lines[0].startswith('"""') or path.name == "version.py"


def test_the_package_stays_small():
    assert sum(len(path.read_text().splitlines()) for path in FILES) <= 17_500


def test_exported_members():
    assert kptalk.__all__ == sorted(kptalk.__all__)
    for name in kptalk.__all__:
        assert getattr(kptalk, name).__doc__ or name == "__version__"
    public = {name for name in vars(kptalk) if not name.startswith("_")}
    folders = {path.stem for path in ROOT.iterdir()}
    assert public - folders == set(kptalk.__all__) - {"__version__"} - folders


def test_importing_the_package_is_silent_and_leaves_heavy_libraries_alone():
    code = (
        "import kptalk, sys; print([m for m in ('diffusers', 'mediapipe', 'typer', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
