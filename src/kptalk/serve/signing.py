"""Content credentials of the server's videos, signed where the server is, whoever made them."""

from __future__ import annotations

from pathlib import Path

from kptalk.files import sha256
from kptalk.provenance.signing import Signer
from kptalk.serve.settings import SPEECH, Settings
from kptalk.serve.store import Job


def sign(job: Job, folder: Path, video: Path, settings: Settings) -> None:
    """Sign a finished video, in place, where the settings say with what; ``folder`` has the job's files.

    Raises:
        CredentialsError: the certificates cannot be used.
    """
    if settings.sign_cert is not None and settings.sign_key is not None:
        inputs = {"portrait": job.portrait, "speech": sha256(folder / SPEECH)}
        Signer.load(settings.sign_cert, settings.sign_key).sign(video, inputs)
