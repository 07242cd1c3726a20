"""Batches whose videos are signed: as they are made, again after a kill, and with a key that stays where it is."""

import pickle

import pytest
from batches import inputs, listed, made, no_models, table
from commands import refused

from kptalk.batch import run
from kptalk.errors import CredentialsError
from kptalk.files import sha256
from kptalk.provenance.certificates import make_certificates
from kptalk.provenance.signing import Signer
from kptalk.provenance.verify import verify

VIDEOS = {"a.mp4": "short.wav", "more/b.mp4": "long.wav"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Root, chain and key."""
    return make_certificates(tmp_path_factory.mktemp("keys"), "The studio")


@pytest.fixture(scope="module")
def signer(keys):
    return Signer.load(*keys[1:])


@pytest.fixture
def drawn(monkeypatch):
    return no_models(monkeypatch)


@pytest.fixture(scope="module")
def jobs(source):
    rows = [{"portrait": "anna.png", "speech": speech, "output": output} for output, speech in VIDEOS.items()]
    rows[0]["save_motion"] = "a.safetensors"
    return table(source / "jobs.csv", [*rows, {"portrait": "landscape.png", "speech": "short.wav", "output": "c.mp4"}])


def assert_signed(folder, source, root, name="The studio"):
    """Both videos, and ``results.csv`` has them as they are."""
    lines = {line["output"]: line for line in listed(folder)}
    for output, speech in VIDEOS.items():
        path = folder / output
        assert (lines[output]["sha256"], int(lines[output]["bytes"])) == (sha256(path), path.stat().st_size)
        found = verify(path, trust=root, inputs={"portrait": source / "anna.png", "speech": source / speech})
        assert (found.intact, found.signer, found.trusted) == (True, name, True)


def test_videos_are_signed_and_kept(drawn, jobs, source, tmp_path, keys, signer):
    found, _ = made(jobs, tmp_path, signer=signer)
    assert [found[number].status for number in (1, 2, 3)] == ["done", "done", "failed"]
    assert {path.name for path in tmp_path.iterdir()} == {"results.csv", "a.mp4", "a.safetensors", "more"}
    assert_signed(tmp_path, source, keys[0])
    before = listed(tmp_path)
    drawn.clear()
    assert made(jobs, tmp_path, signer=Signer.load(*keys[1:]))[1] == {1, 2, 3}
    assert (drawn, listed(tmp_path)) == ([], before)


def test_another_signer_or_none_makes_them_anew(drawn, jobs, source, tmp_path, signer):
    unsigned, _ = made(jobs, tmp_path)
    assert made(jobs, tmp_path, signer=signer)[1] == set()
    others = make_certificates(tmp_path / "keys", "Other studio")
    assert made(jobs, tmp_path, signer=Signer.load(*others[1:]))[1] == set()
    assert_signed(tmp_path, source, others[0], "Other studio")
    again, known = made(jobs, tmp_path)
    assert known == set()
    assert [again[number].sha256 for number in (1, 2)] == [unsigned[number].sha256 for number in (1, 2)]


class Killed(BaseException):
    pass


def killed(*_):
    raise Killed


@pytest.mark.parametrize("moment", ["results.ResultFile.add", "storage.Folder.place"])
def test_what_was_killed_ends_signed_and_is_not_drawn_again(
    drawn, jobs, source, tmp_path, keys, signer, monkeypatch, moment
):
    """When it is signed and has no result; when it has one and no name, and another video of its size has the name."""
    with monkeypatch.context() as patch:
        patch.setattr(f"kptalk.batch.{moment}", killed)
        with pytest.raises(Killed):
            made(jobs, tmp_path, signer=signer)
    (waiting,) = (tmp_path / ".unfinished").glob("*.mp4")
    assert verify(waiting).state == "valid"
    (tmp_path / "more").mkdir(exist_ok=True)
    (tmp_path / "more/b.mp4").write_bytes(bytes(waiting.stat().st_size))
    drawn.clear()
    assert made(jobs, tmp_path, signer=signer)[1] == set()
    assert sum(drawn) == 10  # the other one's frames alone
    assert_signed(tmp_path, source, keys[0])
    assert len(listed(tmp_path)) == 3


@pytest.mark.parametrize("sees", [True, False])
def test_the_key_stays_in_the_process_that_signs(drawn, jobs, source, tmp_path, keys, signer, monkeypatch, sees):
    """Workers get none of it, whether they see the folder or send their files, or the folder is a URL."""
    ours, sent = run.map_rows, []

    def map_rows(build, rows, **options):
        sent.append(pickle.dumps(build))
        rows = (sent.append(pickle.dumps(row)) or row for row in rows)
        return ours(pickle.loads(sent[0]), rows, **options)

    monkeypatch.setattr(run, "map_rows", map_rows)
    if sees:
        made(jobs, f"file://{tmp_path}/out", signer=signer)
        assert made(jobs, f"file://{tmp_path}/out", signer=signer)[1] == {1, 2, 3}
    else:
        monkeypatch.setattr(run, "storage_of", lambda folder, gathers: run.Folder(folder, shared=False))
        made(jobs, tmp_path / "out", signer=signer)
    assert_signed(tmp_path / "out", source, keys[0])
    secret = signer.key.splitlines()[1]
    assert len(sent) >= 4
    assert not any(secret in each for each in sent)
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(signer)


def test_certificates_that_cannot_sign_end_the_batch_and_lose_nothing(drawn, jobs, source, tmp_path, keys, signer):
    bad = Signer("The studio", "es256", keys[0].read_bytes(), signer.key)  # the root's: not for signing, not its key
    with pytest.raises(CredentialsError, match="cannot sign as The studio"):
        made(jobs, tmp_path, signer=bad)
    assert not list(tmp_path.rglob("[ab].mp4"))
    drawn.clear()
    made(jobs, tmp_path, signer=signer)
    assert sum(drawn) == 10  # the video that could not be signed is not made again
    assert_signed(tmp_path, source, keys[0])


def test_the_command_signs(kptalk, drawn, jobs, source, tmp_path, keys, monkeypatch):
    code, _, err = kptalk("batch", jobs, "-o", tmp_path / "flags", "--sign-cert", keys[1], "--sign-key", keys[2])
    assert (code, err) == (1, "")
    assert_signed(tmp_path / "flags", source, keys[0])
    monkeypatch.setenv("KPTALK_SIGN_CERT", str(keys[1]))
    assert refused(kptalk("batch", jobs, "-o", tmp_path / "half"), "give both --sign-cert and --sign-key")
    assert not (tmp_path / "half").exists()
    monkeypatch.setenv("KPTALK_SIGN_KEY", str(keys[2]))
    kptalk("batch", jobs, "-o", tmp_path / "environment")
    assert_signed(tmp_path / "environment", source, keys[0])
