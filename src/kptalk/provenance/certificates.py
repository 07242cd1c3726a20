"""Certificates of one's own to sign videos with: a root, which nobody else knows, and a signer that it vouches for."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from kptalk.errors import CredentialsError, MissingExtra, OptionError
from kptalk.files import explain, make_folder

ROOT, CHAIN, KEY = "root.pem", "chain.pem", "key.pem"
DAYS = 365
CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"  # C2PA's key purpose; with emailProtection beside it all readers take it
LONGEST_NAME = 64  # characters, X.509's upper bound of a common name


def make_certificates(folder: Path, name: str, days: int = DAYS) -> tuple[Path, Path, Path]:
    """Make a root certificate, and a signer's certificate and key.

    The root's key is not kept: nothing else can be signed in its name. Who trusts the root trusts this signer.

    Args:
        folder: where they go; created where it is absent.
        name: of the signer, for all to see.
        days: that they are valid.

    Returns:
        The paths of the root, the chain and the private key; only the owner can read the key.

    Raises:
        CredentialsError: the folder has such files already, or cannot be written to.
        OptionError: the name or the number of days makes no sense.
        MissingExtra: cryptography, which comes with c2pa-python, is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise MissingExtra("certificates need cryptography: pip install 'kptalk[credentials]'") from error
    if not 0 < len(name.strip()) <= LONGEST_NAME - len(" root"):
        raise OptionError(f"name is {name!r}: give 1 to {LONGEST_NAME - len(' root')} characters")
    if not 1 <= days <= 3650:
        raise OptionError(f"days is {days}: give 1 to 3650")
    make_folder(folder)
    paths = folder / ROOT, folder / CHAIN, folder / KEY
    for path in paths:
        if path.exists():
            raise CredentialsError(f"{path} exists already: give another folder, or remove it")
    begin = datetime.now(UTC) - timedelta(minutes=5)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def subject(common: str) -> x509.Name:
        named = {NameOID.ORGANIZATION_NAME: name.strip(), NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in named.items()])

    def certificate(common: str, own: ec.EllipticCurvePrivateKey, is_root: bool) -> x509.Certificate:
        flags = {"digital_signature": not is_root, "key_cert_sign": is_root, "crl_sign": is_root}
        others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = x509.KeyUsage(**flags, **dict.fromkeys((*others, "encipher_only", "decipher_only"), False))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        builder = (
            x509.CertificateBuilder(subject_name=subject(common), issuer_name=subject(f"{name.strip()} root"))
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_root, 0 if is_root else None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False)
            .add_extension(issuer, False)
        )
        if not is_root:
            purposes = [x509.ObjectIdentifier(CLAIM_SIGNING), ExtendedKeyUsageOID.EMAIL_PROTECTION]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        return builder.sign(root_key, hashes.SHA256())

    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    root, leaf = certificate(f"{name.strip()} root", root_key, True), certificate(name.strip(), key, False)
    contents = root.public_bytes(pem), leaf.public_bytes(pem), private
    try:
        with TemporaryDirectory(dir=folder, prefix=".making-") as temporary:
            for path, content in zip(paths, contents, strict=True):
                mode = 0o600 if path.name == KEY else 0o644
                with open(os.open(Path(temporary) / path.name, os.O_WRONLY | os.O_CREAT, mode), "wb") as file:
                    file.write(content)
            for path in reversed(paths):  # the root last: where it is, all are
                (Path(temporary) / path.name).replace(path)
    except OSError as error:
        raise CredentialsError(f"cannot write into {folder}: {explain(error)}") from error
    return paths
