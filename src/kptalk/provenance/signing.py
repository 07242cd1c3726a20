"""Content credentials (C2PA): what a finished video says of its making, signed, inside the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Self

import av

from kptalk.errors import CredentialsError, MissingExtra
from kptalk.files import explain, put_in_place
from kptalk.version import __version__

EXTRA = "content credentials need c2pa-python: pip install 'kptalk[credentials]'"
# A photo's own pixels, moved by a model: media of a model alone would be trainedAlgorithmicMedia.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
ASSERTION = "org.kptalk.generation"
# Thumbnails would show the portrait to who has the manifest only; whether readers trust the signer is theirs to say.
SETTINGS = {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
MIME = "video/mp4"


def load_c2pa() -> ModuleType:
    """The library; raises MissingExtra where it is not installed."""
    try:
        import c2pa
    except ImportError as error:
        raise MissingExtra(EXTRA) from error
    return c2pa  # type: ignore[no-any-return]  # c2pa has no types


@dataclass(frozen=True)
class Signer:
    """Certificates and the key that belongs to them, in memory.

    Attributes:
        name: of who signs, as the certificate has it.
        algorithm: of signatures, as C2PA names it.
        chain, key: PEM.
    """

    name: str
    algorithm: str
    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"<Signer {self.name!r}, {self.algorithm}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer holds a private key, which stays in its process")

    @classmethod
    def load(cls, chain: str | PathLike[str], key: str | PathLike[str]) -> Self:
        """Read and check them.

        Args:
            chain: certificates in PEM, the signer's first, without the root.
            key: the signer's private key in PEM, without a password.

        Raises:
            CredentialsError: they cannot be read, do not belong together, or are not valid now.
            MissingExtra: c2pa-python is not installed.
        """
        load_c2pa()
        from cryptography import x509
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509.oid import NameOID

        texts = _read(chain), _read(key)
        try:
            leaf = x509.load_pem_x509_certificates(texts[0])[0]
        except ValueError as error:
            raise CredentialsError(f"{chain} holds no certificate in PEM form: {explain(error)}") from error
        try:
            private = load_pem_private_key(texts[1], None)
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise CredentialsError(f"{key} holds no private key in PEM form without a password") from error
        if private.public_key() != leaf.public_key():
            raise CredentialsError(f"{key} is not the key of the first certificate in {chain}")
        now, end = datetime.now(UTC), leaf.not_valid_after_utc
        if not leaf.not_valid_before_utc <= now <= end:
            raise CredentialsError(f"{chain}: the certificate is valid from {leaf.not_valid_before_utc} to {end}")
        names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return cls(str(names[0].value) if names else "unnamed", _algorithm(private, key), *texts)

    def sign(self, video: Path, ingredients: Mapping[str, str]) -> None:
        """Put a signed manifest into a finished MP4; the last thing that is done to it.

        Args:
            video: the file, replaced when it is signed.
            ingredients: SHA-256 of what it was made from, by what it is: ``portrait``, ``speech``, ``driver``.

        Raises:
            CredentialsError: the certificates are not such as C2PA allows.
            OSError: the disk is full or fails.
        """
        c2pa = load_c2pa()
        signed = video.with_suffix(f".signed{video.suffix}")
        try:
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain, self.key, None))
            builder = c2pa.Builder(_manifest(_tags(video), ingredients), context=c2pa.Context.from_dict(SETTINGS))
            with video.open("rb") as source, signed.open("w+b") as target:
                builder.sign(signer, MIME, source, target)
            put_in_place(signed, video)
        except c2pa.C2paError as error:
            raise CredentialsError(f"cannot sign as {self.name}: {explain(error)}") from error
        finally:
            signed.unlink(missing_ok=True)


def _read(path: str | PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {explain(error)}") from error


def _algorithm(key: object, path: str | PathLike[str]) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size in (256, 384, 521):
        return {256: "es256", 384: "es384", 521: "es512"}[key.key_size]
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise CredentialsError(f"{path}: C2PA knows keys of P-256, P-384, P-521, RSA and Ed25519")


def _tags(video: Path) -> dict[str, str]:
    with av.open(f"file:{video}", options={"format_whitelist": "mov,mp4", "protocol_whitelist": "file"}) as file:
        return dict(file.metadata)


def _manifest(tags: Mapping[str, str], ingredients: Mapping[str, str]) -> dict[str, Any]:
    agent = {"name": "kptalk", "version": __version__}
    action = {
        "action": "c2pa.created",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
        "description": tags.get("comment", ""),
        "parameters": {"ingredientIds": list(ingredients)},
    }
    facts = json.loads(tags.get("description") or "{}") | {"inputs": {k: {"sha256": v} for k, v in ingredients.items()}}
    return {
        "claim_generator_info": [agent],
        "title": tags.get("title", "Synthetic talking portrait"),
        "format": MIME,
        "ingredients": [
            {"title": name, "relationship": "inputTo", "label": name, "instance_id": f"sha256:{digest}"}
            for name, digest in ingredients.items()
        ],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": ASSERTION, "data": facts},
        ],
    }
