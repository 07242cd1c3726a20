"""``kptalk verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kptalk.cli import console, options, process

if TYPE_CHECKING:
    from kptalk.provenance.verify import Verdict

UNSIGNED = 3  # exit code
WORDS = {
    "valid": "signed, and as it was signed",
    "changed": "CHANGED after it was signed",
    "invalid": "signed, but the signature is not valid",
    "unsigned": "no content credentials",
}
Input = Annotated[Path | None, options.flag("A file to compare with what the credentials name.", group="Other")]


def verify(
    video: Annotated[Path, typer.Argument(metavar="FILE", help="The video.")],
    trust: Annotated[
        Path | None, options.flag("Certificates (PEM) of those whose word is taken for a signer.", group="Other")
    ] = None,
    portrait: Input = None,
    speech: Input = None,
    driver: Input = None,
    as_json: Annotated[bool, options.flag("Print JSON.", "--json", group="Other")] = False,
) -> None:
    """Say where a video comes from: content credentials, watermark, tags.

    Exit code 0: signed and unchanged, and what was compared is the same; 1: changed, or another; 3: no credentials.
    """
    with console.loading():
        from kptalk.provenance.verify import verify as look

    given = {"portrait": portrait, "speech": speech, "driver": driver}
    found = look(video, trust=trust, inputs={name: path for name, path in given.items() if path is not None})
    if as_json:
        console.output.print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in _lines(video, found):
            console.output.print(line)
    if not found.intact:
        raise typer.Exit(UNSIGNED if found.state == "unsigned" else process.FAILED)


def _lines(video: Path, found: "Verdict") -> list[str]:
    lines = [f"{video}: {WORDS[found.state]}"]
    if found.signer is not None:
        trusted = "trusted" if found.trusted else "not known here: --trust CERTIFICATES says whom you trust"
        lines.append(f"  signer: {found.signer} ({trusted})")
    if found.state != "valid" and found.problems:
        lines.append(f"  wrong: {', '.join(found.problems)}")
    says = {name: value for name, value in found.claims.items() if name != "inputs"}
    if says:
        lines.append(f"  signed statement: {json.dumps(says, ensure_ascii=False)}")
    for name, state in found.inputs.items():
        words = {"same": "the file that was used", "other": "ANOTHER file", "not stated": "not stated"}
        lines.append(f"  {name}: {words[state]}")
    mark = found.watermark
    text = "none found" if mark is None else str(mark.payload) if mark.payload else "found, too weak to be read"
    lines.append(f"  watermark: {text}")
    if found.tags.get("comment"):
        lines.append(f"  tags, which anybody can write: {found.tags['comment']}")
    return lines
