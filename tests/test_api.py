"""What the package exports, and what importing it loads."""

import subprocess
import sys
from pathlib import Path

import pytest

import kptalk


def test_exported_members():
    assert kptalk.__all__ == sorted(kptalk.__all__)
    for name in kptalk.__all__:
        assert getattr(kptalk, name).__doc__ or name == "__version__"
    public = {name for name in vars(kptalk) if not name.startswith("_")}
    folders = {path.stem for path in Path(kptalk.__file__).parent.iterdir()}
    assert public - folders == set(kptalk.__all__) - {"__version__"} - folders


HEAVY = {"numpy", "torch", "scipy", "cv2", "av", "PIL", "safetensors", "diffusers", "matplotlib"}
COMMAND = "import sys; from kptalk.cli import main; sys.argv[1:] = {!r}\ntry: main()\nexcept SystemExit: pass\n"


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import kptalk", {"typer", "rich"}),
        ("import kptalk.options", {"typer", "rich"}),
        ("import kptalk.files, kptalk.errors", {"typer", "rich"}),
        (COMMAND.format(["--help"]), set()),
        (COMMAND.format(["animate", "--help"]), set()),
        (COMMAND.format(["animate", "a.jpg", "a.mp3", "-o", "no/such/folder/a.mp4"]), set()),
    ],
    ids=["kptalk", "options", "files", "help", "animate help", "an output that cannot be"],
)
def test_what_needs_no_model_loads_no_heavy_library(code, more):
    code += f"\nimport sys; print('loaded:', *[name for name in {sorted(HEAVY | more)} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded:"
    assert run.stderr == "" or "no/such/folder" in code


def test_a_pipeline_loads_only_what_it_uses():
    """Each of these takes from a tenth of a second to two to import."""
    unused = ["diffusers", "scipy", "matplotlib", "huggingface_hub", "typer"]
    code = f"import kptalk, sys; kptalk.Pipeline.from_pretrained(); print([m for m in {unused} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
