"""The program: its commands, and what becomes of the errors they raise."""

import errno
import io
import sys
import warnings
from typing import Annotated

import typer

from kptalk.cli.ablate import ablate
from kptalk.cli.animate import animate
from kptalk.cli.batch import batch
from kptalk.cli.console import explain, loading, output, say, show_warning
from kptalk.cli.credentials import app as credentials
from kptalk.cli.evaluate import evaluate, study
from kptalk.cli.models import models
from kptalk.cli.motion import app as motion
from kptalk.cli.options import Grouped
from kptalk.cli.prepare import prepare
from kptalk.cli.process import BAD_INPUT, FAILED
from kptalk.cli.reenact import reenact
from kptalk.cli.serve import serve
from kptalk.cli.train import train
from kptalk.cli.verify import verify
from kptalk.cli.weights import app as weights
from kptalk.errors import InputError, KptalkError
from kptalk.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One portrait and one speech recording become a talking video.",
)
# What may come at any moment of any file, and is no mistake of the program's.
OF_THE_SYSTEM = [
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EACCES", "EPERM", "EMFILE", "ENFILE", "ETIMEDOUT")
    if hasattr(errno, name)
]
HEADLESS = (
    "OpenCV with windows needs that from the system, the headless one does not: "
    "pip uninstall -y opencv-python opencv-contrib-python && pip install --force-reinstall opencv-python-headless"
)


def run() -> int:
    """Run the command of ``sys.argv``; errors become one line on stderr. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that the terminal cannot show
    warnings.showwarning = show_warning
    warnings.simplefilter("ignore")  # what libraries tell programmers
    warnings.filterwarnings("always", module=r"kptalk\.")
    try:
        return app(prog_name="kptalk", standalone_mode=False) or 0  # None, or the code of a typer.Exit
    except KptalkError as error:
        say("error", explain(error))
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    except ImportError as error:
        if "shared object" not in str(error):
            raise
        say("error", f"{error}; {HEADLESS}")
        return FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno not in OF_THE_SYSTEM:
            raise
        where = f": {error.filename}" if error.filename else ""
        say("error", f"{error.strerror}{where}")
        return FAILED
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the parser; empty where it has shown the help
            if text := error.format_message():
                say("error", text)
            return BAD_INPUT
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


@app.command("doctor", rich_help_panel="Models and installation")
def _doctor() -> None:
    """Print versions, device and threads, check the embedded model, and draw one second."""
    with loading():
        from kptalk.cli.doctor import examine

    sound = True
    for finding in examine():
        output.print(f"{'ok ' if finding.ok else 'BAD'}  {finding.what}: {finding.detail}")
        sound &= finding.ok
    if not sound:
        raise typer.Exit(FAILED)


for command, panel in (
    (animate, "Videos"),
    (reenact, "Videos"),
    (batch, "Videos"),
    (serve, "Videos"),
    (verify, "Videos"),
    (prepare, "Training"),
    (train, "Training"),
    (ablate, "Training"),
    (evaluate, "Evaluation"),
    (models, "Models and installation"),
):
    app.command(cls=Grouped, rich_help_panel=panel)(command)
app.add_typer(motion, name="motion", rich_help_panel="Videos")
app.add_typer(credentials, name="credentials", rich_help_panel="Videos")
app.add_typer(study, name="study", rich_help_panel="Evaluation")
app.add_typer(weights, name="weights", rich_help_panel="Models and installation")
