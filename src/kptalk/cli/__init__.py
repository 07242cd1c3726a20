"""The command line: parse and print, nothing else."""

import gc
import io
import os
import sys
import warnings
from typing import Annotated

import typer

from kptalk.cli.animate import animate
from kptalk.cli.console import BAD_INPUT, FAILED, INTERRUPTED, output, say, show_warning
from kptalk.cli.evaluate import evaluate, study
from kptalk.cli.models import models
from kptalk.cli.motion import app as motion
from kptalk.cli.reenact import reenact
from kptalk.cli.train import prepare, train
from kptalk.cli.weights import app as weights
from kptalk.errors import InputError, KptalkError
from kptalk.version import __version__

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One portrait and one speech recording become a talking video.",
)
HEADLESS = (
    "OpenCV with windows needs that from the system, the headless one does not: "
    "pip uninstall -y opencv-python opencv-contrib-python && pip install --force-reinstall opencv-python-headless"
)


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    # NumPy, which is imported later, would start threads that wait by spinning; its arrays here are small.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(100_000)  # of a million objects that are made at the start nearly all stay
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that the terminal cannot show
    warnings.showwarning = show_warning
    warnings.simplefilter("ignore")  # what libraries tell programmers
    warnings.filterwarnings("always", module=r"kptalk\.")
    try:
        sys.exit(app(standalone_mode=False))  # None, or the code of a typer.Exit
    except KptalkError as error:
        say("error", str(error))
        sys.exit(BAD_INPUT if isinstance(error, InputError) else FAILED)
    except (KeyboardInterrupt, typer.Abort):
        say("stopped", "by Ctrl-C")
        sys.exit(INTERRUPTED)
    except ImportError as error:
        if "shared object" not in str(error):
            raise
        say("error", f"{error}; {HEADLESS}")
        sys.exit(FAILED)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the parser; empty where it has shown the help
            if text := error.format_message():
                say("error", text)
            sys.exit(BAD_INPUT)
        raise


def _show_version(wanted: bool) -> None:
    if wanted:
        output.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None: ...


@app.command("doctor")
def _doctor() -> None:
    """Print versions, device and threads, check the embedded model, and draw one second."""
    from kptalk.cli.doctor import examine

    sound = True
    for finding in examine():
        output.print(f"{'ok ' if finding.ok else 'BAD'}  {finding.what}: {finding.detail}")
        sound &= finding.ok
    if not sound:
        raise typer.Exit(FAILED)


for command in (animate, reenact, prepare, train, evaluate, models):
    app.command()(command)
app.add_typer(motion, name="motion")
app.add_typer(study, name="study")
app.add_typer(weights, name="weights")
