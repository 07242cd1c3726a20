"""``kptalk credentials``, and the signer of a video's credentials as flags or environment name it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import console, options
from kptalk.errors import CredentialsError

if TYPE_CHECKING:
    from kptalk.provenance.signing import Signer

CERT, KEY = "KPTALK_SIGN_CERT", "KPTALK_SIGN_KEY"  # paths, in the place of the flags
SignCert = Annotated[
    Path | None, options.flag(f"Certificates (PEM, leaf first) to sign content credentials with; or {CERT}.")
]
SignKey = Annotated[Path | None, options.flag(f"The private key (PEM) that belongs to them; or {KEY}.")]
app = typer.Typer(no_args_is_help=True, help="Content credentials (C2PA): certificates to sign videos with.")


@app.callback()
def _root() -> None: ...


@app.command(cls=options.Grouped)
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")],
    name: Annotated[str, options.flag("Of the signer, for all to see.", group="Other")] = "kptalk local signer",
    days: Annotated[int, options.flag("How long they are valid.", group="Other")] = 365,
) -> None:
    """Make a root certificate of your own, and a signer's certificate and key."""
    from kptalk.provenance.certificates import make_certificates

    root, chain, key = make_certificates(folder, name, days)
    console.output.print(f"{chain} and {key} sign: kptalk animate ... --sign-cert {chain} --sign-key {key}")
    console.output.print(f"{root} is for those who check: kptalk verify VIDEO --trust {root}")


def signing_files(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    """Where certificates and key are, by the flags or else the environment; None where neither says.

    Raises:
        CredentialsError: only one of the two is given.
    """
    chain, private = (
        (given or (Path(os.environ[name]) if os.environ.get(name) else None))
        for given, name in ((cert, CERT), (key, KEY))
    )
    if chain is None and private is None:
        return None
    if chain is None or private is None:
        raise CredentialsError(f"give both --sign-cert and --sign-key, or {CERT} and {KEY}")
    return chain.absolute(), private.absolute()


def signer_of(cert: Path | None, key: Path | None) -> "Signer | None":
    """The signer that is asked for, checked; None where none is.

    Raises:
        CredentialsError: only one of the two is given, or they cannot be used.
        MissingExtra: c2pa-python is not installed.
    """
    if (files := signing_files(cert, key)) is None:
        return None
    with console.loading():
        from kptalk.provenance.signing import Signer

    return Signer.load(*files)
