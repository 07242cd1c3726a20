"""What a video says of where it comes from, and whether that can be believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from kptalk.errors import CredentialsError, InputError
from kptalk.files import check_readable, explain, sha256
from kptalk.media.container import open_stream
from kptalk.media.watermark_reader import Watermark, read_watermark
from kptalk.provenance.certificates import CLAIM_SIGNING
from kptalk.provenance.signing import ASSERTION, MIME, load_c2pa

State = Literal["valid", "changed", "invalid", "unsigned"]
C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # of ISO media files
# Purposes of keys that may sign: C2PA's own, email protection, time stamps, documents.
PURPOSES = (CLAIM_SIGNING, "1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.36")
CHANGED = ("mismatch", "assertion.missing", "claim.missing", "claim.malformed")  # in codes of what is wrong


@dataclass(frozen=True)
class Verdict:
    """What was found out about a video.

    Attributes:
        state: of the content credentials: ``valid``, ``changed`` after signing, ``invalid`` (the signature or its
            certificate is no good), ``unsigned`` (there are none).
        signer: who signed, by the certificate's own words, or None.
        trusted: whether a root that was given vouches for the signer.
        problems: C2PA's codes of what is wrong.
        claims: what the credentials say, kptalk's own assertion; empty where there is none.
        inputs: of every file that was compared, ``same``, ``other`` or ``not stated``.
        watermark: what is hidden in the picture, or None where nothing was found.
        tags: the file's own, which everybody can write.
    """

    state: State
    signer: str | None = None
    trusted: bool = False
    problems: tuple[str, ...] = ()
    claims: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    watermark: Watermark | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """Whether the credentials are valid, and all that was compared is the same."""
        return self.state == "valid" and all(each == "same" for each in self.inputs.values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found, mark = vars(self) | {"problems": list(self.problems)}, self.watermark
        found["watermark"] = mark and {
            "version": mark.payload and ".".join(map(str, mark.payload.version)),
            "id": mark.payload and f"{mark.payload.id:08x}",
            "correlation": round(mark.correlation, 1),
        }
        return found | {"claims": dict(self.claims), "inputs": dict(self.inputs), "tags": dict(self.tags)}


def verify(
    video: str | PathLike[str],
    *,
    trust: str | PathLike[str] | None = None,
    inputs: Mapping[str, str | PathLike[str]] | None = None,
) -> Verdict:
    """Look at a video's content credentials, its watermark and its tags.

    Args:
        video: the file.
        trust: certificates in PEM of those whose word is taken for a signer.
        inputs: files to compare with what the credentials name: ``portrait``, ``speech``, ``driver``.

    Raises:
        InputError: the video cannot be read.
        CredentialsError: the certificates to trust cannot be read.
        MissingExtra: there are credentials, and c2pa-python is not installed.
    """
    path = Path(video)
    check_readable(path, "a video")
    try:
        with open_stream(path, "video") as (container, _):
            tags = dict(container.metadata)
        watermark = read_watermark(path)
    except InputError:
        if not has_credentials(path):
            raise
        tags, watermark = {}, None  # changed so much that no picture can be decoded: the credentials tell
    digests = {name: sha256(file, InputError) for name, file in (inputs or {}).items()}
    if not has_credentials(path):
        return Verdict("unsigned", inputs=dict.fromkeys(digests, "not stated"), watermark=watermark, tags=tags)
    state, signer, trusted, problems, claims = _credentials(path, _anchors(trust))
    stated = {name: each.get("sha256") for name, each in claims.get("inputs", {}).items()}
    compared = {
        name: "not stated" if name not in stated else "same" if stated[name] == digest else "other"
        for name, digest in digests.items()
    }
    return Verdict(state, signer, trusted, problems, claims, compared, watermark, tags)


def has_credentials(path: Path) -> bool:
    """Whether an ISO media file (MP4, MOV) has a box of C2PA's."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = 0
        while at + 8 <= size:
            file.seek(at)
            head = file.read(32)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            start = 8
            if length == 1:
                length, start = int.from_bytes(head[8:16], "big"), 16
            if kind == b"uuid" and head[start : start + 16] == C2PA_BOX:
                return True
            if length < start:  # 0: to the end of the file; what is less is no box
                return False
            at += length
    return False


def _anchors(trust: str | PathLike[str] | None) -> str | None:
    if trust is None:
        return None
    try:
        text = Path(trust).read_text("ascii")
    except (OSError, ValueError) as error:
        raise CredentialsError(f"cannot read {trust}: {explain(error)}") from error
    if "BEGIN CERTIFICATE" not in text:
        raise CredentialsError(f"{trust} holds no certificate in PEM form")
    return text


def _credentials(path: Path, anchors: str | None) -> tuple[State, str | None, bool, tuple[str, ...], Mapping[str, Any]]:
    """State, signer, whether it is trusted, what is wrong, and what kptalk's assertion says."""
    c2pa = load_c2pa()
    trust = {"trust_config": "\n".join(PURPOSES)} | ({"trust_anchors": anchors} if anchors else {})
    try:
        with path.open("rb") as file:
            reader = c2pa.Reader(MIME, file, context=c2pa.Context.from_dict({"trust": trust}))
            found, verdict = json.loads(reader.json()), str(reader.get_validation_state())
    except c2pa.C2paError as error:
        return "changed", None, False, (explain(error),), {}
    results = found.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    codes = tuple(dict.fromkeys(str(each["code"]) for each in results))
    manifest = found.get("manifests", {}).get(found.get("active_manifest"), {})
    claims: dict[str, Any] = next(
        (each["data"] for each in manifest.get("assertions", []) if each["label"] == ASSERTION), {}
    )
    signature = manifest.get("signature_info", {})
    signer = signature.get("common_name") or signature.get("issuer")
    if verdict in ("Valid", "Trusted"):
        return "valid", signer, verdict == "Trusted", codes, claims
    return (
        ("changed" if any(word in code for code in codes for word in CHANGED) else "invalid"),
        signer,
        False,
        codes,
        claims,
    )
