"""Content credentials: signing, checking, what was changed, who is trusted, what is refused."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from kptalk.errors import CredentialsError, InputError, MissingExtra, OptionError
from kptalk.files import sha256
from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink
from kptalk.provenance import signing
from kptalk.provenance.certificates import make_certificates
from kptalk.provenance.signing import Signer
from kptalk.provenance.verify import has_credentials, verify

TAGS = {"title": "A title", "comment": "Made here", "description": json.dumps({"synthetic": True, "seed": 7})}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"), "Ünser Studio")


@pytest.fixture(scope="module")
def portrait(tmp_path_factory):
    path = tmp_path_factory.mktemp("inputs") / "a photo.jpg"
    path.write_bytes(b"some photo")
    return path


def make(path, sign=None, overwrite=False):
    with VideoWriter(FileSink(path, overwrite, sign), Fraction(25), (64, 48), None, TAGS) as writer:
        for k in range(5):
            writer.write(np.full((1, 48, 64, 3), 20 + 40 * k, np.uint8))
    return path


@pytest.fixture(scope="module")
def signed(tmp_path_factory, certificates, portrait):
    sign = partial(Signer.load(*certificates[1:]).sign, ingredients={"portrait": sha256(portrait)})
    return make(tmp_path_factory.mktemp("signed") / "signed.mp4", sign)


def test_what_was_signed_is_valid_and_says_what_it_is(signed, certificates, portrait):
    found = verify(signed, trust=certificates[0], inputs={"portrait": portrait})
    assert (found.state, found.signer, found.trusted, found.intact) == ("valid", "Ünser Studio", True, True)
    assert found.inputs == {"portrait": "same"}
    assert found.claims["seed"] == 7
    assert found.claims["synthetic"] is True
    assert found.tags["comment"] == "Made here"


def test_signing_changes_neither_pictures_nor_tags(signed, tmp_path):
    plain = make(tmp_path / "plain.mp4")
    assert all((a == b).all() for a, b in zip(read_frames(plain), read_frames(signed), strict=True))
    assert verify(plain).tags == verify(signed).tags
    assert has_credentials(signed)
    assert not has_credentials(plain)


def test_a_stranger_is_not_trusted_and_another_input_is_told(signed, tmp_path):
    other = tmp_path / "other.jpg"
    other.write_bytes(b"another photo")
    stranger = make_certificates(tmp_path / "stranger", "Somebody")[0]
    found = verify(signed, trust=stranger, inputs={"portrait": other, "speech": other})
    assert (found.state, found.trusted, found.intact) == ("valid", False, False)
    assert found.inputs == {"portrait": "other", "speech": "not stated"}


def test_manifest_names_no_path_and_no_picture(signed):
    content = signed.read_bytes()
    assert b"a photo" not in content
    assert b"thumbnail" not in content
    assert b"compositeWithTrainedAlgorithmicMedia" in content


@pytest.mark.parametrize("part", [b"mdat", b"A title"])
def test_every_changed_byte_is_found(signed, tmp_path, part):
    content = bytearray(signed.read_bytes())
    content[content.rindex(part) + 6] ^= 1
    changed = tmp_path / "changed.mp4"
    changed.write_bytes(content)
    found = verify(changed)
    assert found.state == "changed"
    assert any("mismatch" in code for code in found.problems)
    assert not found.intact


def test_a_damaged_manifest_is_changed_not_unsigned(signed, tmp_path):
    content = bytearray(signed.read_bytes())
    at = content.index(b"org.kptalk.generation")
    content[at : at + 400] = bytes(400)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    assert verify(path).state == "changed"


def test_unsigned_video_says_so_without_the_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    found = verify(make(tmp_path / "plain.mp4"), inputs={"speech": __file__})
    assert (found.state, found.signer, found.inputs) == ("unsigned", None, {"speech": "not stated"})
    assert json.loads(json.dumps(found.to_dict()))["state"] == "unsigned"


def test_library_that_is_absent_is_named_where_it_is_needed(signed, certificates, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kptalk\[credentials\]'"):
        verify(signed)
    with pytest.raises(MissingExtra):
        Signer.load(*certificates[1:])


def test_failed_signature_leaves_no_video_under_its_name(tmp_path, certificates):
    _, _chain, key = certificates
    root = Signer("root", "es256", certificates[0].read_bytes(), key.read_bytes())  # not its key, and not for signing
    with pytest.raises(CredentialsError, match="cannot sign as root"):
        make(tmp_path / "out.mp4", partial(root.sign, ingredients={}))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {".out.partial.mp4"}


def test_key_is_for_its_owner_and_certificates_are_not_replaced(certificates):
    _root, _chain, key = certificates
    assert key.stat().st_mode & 0o077 == 0
    before = key.read_bytes()
    with pytest.raises(CredentialsError, match="exists already"):
        make_certificates(key.parent, "Again")
    assert key.read_bytes() == before


@pytest.mark.parametrize(("name", "days"), [("", 1), ("x" * 65, 1), ("x", 0), ("x", 100_000)])
def test_certificates_that_cannot_be_are_refused(tmp_path, name, days):
    with pytest.raises(OptionError):
        make_certificates(tmp_path / "new", name, days)
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_certificates_are_named(tmp_path, certificates):
    _, chain, key = certificates
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    other = make_certificates(tmp_path / "other", "Other")[2]
    for given, words in (
        ((tmp_path / "absent", key), "cannot read"),
        ((text, key), "no certificate"),
        ((chain, text), "no private key"),
        ((chain, other), "is not the key of"),
    ):
        with pytest.raises(CredentialsError, match=words):
            Signer.load(*given)


def test_trust_in_a_file_without_certificates_is_refused(signed, tmp_path):
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    for path, words in ((text, "no certificate"), (tmp_path / "absent", "cannot read")):
        with pytest.raises(CredentialsError, match=words):
            verify(signed, trust=path)


def test_certificate_that_has_run_out_is_not_used(tmp_path, certificates):
    _, chain, key = certificates
    leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    old = (
        x509.CertificateBuilder(leaf.issuer, leaf.subject, private.public_key(), 1)
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    path = tmp_path / "old.pem"
    path.write_bytes(old.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(CredentialsError, match="valid from"):
        Signer.load(path, key)


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\0uuid" + bytes(40))
    with pytest.raises(InputError):
        verify(tmp_path / "a.mp4")


def test_every_kind_of_key_has_its_algorithm(certificates):
    assert signing._algorithm(ed25519.Ed25519PrivateKey.generate(), "key") == "ed25519"
    assert signing._algorithm(ec.generate_private_key(ec.SECP384R1()), "key") == "es384"
    assert signing._algorithm(rsa.generate_private_key(65537, 2048), "key") == "ps256"
    with pytest.raises(CredentialsError):
        signing._algorithm(None, "key")


def run(*arguments, **environment):
    command = [sys.executable, "-m", "kptalk", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | environment)


@pytest.mark.slow
def test_commands_and_their_exit_codes(tmp_path, signed, portrait):
    made = run("credentials", "init", tmp_path / "own", "--name", "Me")
    assert made.returncode == 0, made.stderr
    assert "chain.pem" in made.stdout
    assert run("credentials", "init", tmp_path / "own").returncode == 2
    good = run("verify", signed, "--portrait", portrait)
    assert good.returncode == 0, good.stderr
    assert "signed, and as it was signed" in good.stdout
    assert "the file that was used" in good.stdout
    wrong = run("verify", signed, "--portrait", __file__, "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["inputs"] == {"portrait": "other"}
    unsigned = run("verify", make(tmp_path / "plain.mp4"))
    assert (unsigned.returncode, unsigned.stderr) == (3, "")
    assert "no content credentials" in unsigned.stdout
    half = run("animate", portrait, portrait, "-o", tmp_path / "x.mp4", KPTALK_SIGN_CERT="/chain.pem")
    assert half.returncode == 2
    assert "give both --sign-cert and --sign-key" in half.stderr
