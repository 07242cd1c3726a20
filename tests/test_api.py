"""What the package exports, and what importing it loads."""

import subprocess
import sys
from pathlib import Path

import kptalk


def test_exported_members():
    assert kptalk.__all__ == sorted(kptalk.__all__)
    for name in kptalk.__all__:
        assert getattr(kptalk, name).__doc__ or name == "__version__"
    public = {name for name in vars(kptalk) if not name.startswith("_")}
    folders = {path.stem for path in Path(kptalk.__file__).parent.iterdir()}
    assert public - folders == set(kptalk.__all__) - {"__version__"} - folders


def test_importing_the_package_is_silent_and_leaves_heavy_libraries_alone():
    code = "import kptalk, sys; print([m for m in ('diffusers', 'typer', 'matplotlib') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
