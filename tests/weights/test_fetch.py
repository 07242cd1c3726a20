"""Downloads: what arrives is what was meant; every failure is one line that says what to do, and leaves nothing bad."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import constants

from kptalk.errors import WeightsError
from kptalk.weights.fetch import fetch
from kptalk.weights.lock import Record, accept, lock_path, read_lock, record_file
from kptalk.weights.official import unaccepted
from kptalk.weights.registry import ENTRIES, PINS, Url

DECODER = ENTRIES["decoder"]  # on the hub
CONTENT = np.random.default_rng(0).bytes(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def norm(hub):
    """An entry at a plain address of the test's server."""
    hub.files["files/norm.npz"] = CONTENT
    return replace(ENTRIES["kdtalker_norm"], source=Url(f"{hub.url}/files/norm.npz"))


def refused(entry, *parts):
    with pytest.raises(WeightsError) as caught:
        fetch(entry)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def downloads(hub):
    return [asked for method, path, asked in hub.requests if method == "GET" and not path.startswith("api/")]


class TestHub:
    def test_a_file_comes_once_and_then_offline_from_the_cache(self, hub, monkeypatch):
        hub.add(DECODER.source, CONTENT)
        assert fetch(DECODER).read_bytes() == CONTENT
        fetch(DECODER)
        assert downloads(hub) == [None]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetch(DECODER).read_bytes() == CONTENT

    def test_a_cut_connection_is_resumed(self, hub):
        hub.add(DECODER.source, CONTENT)
        hub.cuts = 2
        assert fetch(DECODER).read_bytes() == CONTENT
        assert downloads(hub) == [None, "bytes=1500000-", "bytes=2250000-"]

    def test_offline_says_so(self, hub, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        refused(DECODER, "HF_HUB_OFFLINE", "kptalk weights convert FILE", "spade_generator.pth")
        assert hub.requests == []

    def test_no_connection_says_where_to(self, hub, monkeypatch):
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        refused(DECODER, "http://127.0.0.1:9", "HF_ENDPOINT", "kptalk weights convert FILE")

    @pytest.mark.parametrize("repository", [True, False])
    def test_a_file_or_repository_that_is_gone(self, hub, repository):
        if repository:
            hub.files[f"{DECODER.source.repository}/resolve/main/README.md"] = b""
        refused(DECODER, "404", DECODER.source.repository, "kptalk weights convert FILE")

    def test_another_size_or_digest_than_pinned(self, hub, monkeypatch):
        hub.add(DECODER.source, CONTENT)
        monkeypatch.setitem(PINS, DECODER.original, (3_000_000, DIGEST[:8]))
        assert fetch(DECODER)
        monkeypatch.setitem(PINS, DECODER.original, (3_000_001, DIGEST))
        refused(DECODER, "3000000 bytes", "3000001", "kptalk weights pull decoder")
        monkeypatch.setitem(PINS, DECODER.original, (3_000_000, "beef" * 16))
        refused(DECODER, DIGEST[:16], "beefbeef", "kptalk weights pull decoder")

    def test_what_was_damaged_on_its_way_does_not_stay_in_the_cache(self, hub):
        hub.add(DECODER.source, CONTENT[:-1] + b"?")
        hub.digest = DIGEST
        refused(DECODER, "announced by the hub", DIGEST[:16])
        hub.add(DECODER.source, CONTENT)
        assert fetch(DECODER).read_bytes() == CONTENT

    def test_a_file_that_changed_since_the_first_pull(self, hub):
        hub.add(DECODER.source, CONTENT)
        record_file("decoder", Record(str(DECODER.source), "gone", 1, "0" * 64, ""))
        refused(DECODER, "changed since the first pull", "00000000", str(lock_path()))
        record_file("decoder", Record("local file spade_generator.pth", "gone", 1, "0" * 64, ""))
        assert fetch(DECODER)


class TestAddress:
    def test_a_file_comes_once(self, norm, hub, home):
        assert fetch(norm) == home / "originals" / "norm.npz"
        assert fetch(norm).read_bytes() == CONTENT
        assert downloads(hub) == [None]

    def test_a_cut_connection_is_resumed(self, norm, hub):
        hub.cuts = 2
        assert fetch(norm).read_bytes() == CONTENT
        assert downloads(hub) == [None, "bytes=1500000-", "bytes=2250000-"]

    def test_a_server_that_knows_no_parts_sends_all_again(self, norm, hub):
        hub.cuts, hub.ranges = 1, False
        assert fetch(norm).read_bytes() == CONTENT

    def test_what_came_is_kept_for_the_next_time(self, norm, hub, home):
        hub.cuts, hub.cut_after = 100, 0
        refused(norm, "norm.npz", "peer closed connection", "kptalk weights convert FILE")
        assert 5 <= len(downloads(hub)) <= 6
        (home / "originals" / "norm.npz.part").write_bytes(CONTENT[:1000])
        hub.cuts = 0
        assert fetch(norm).read_bytes() == CONTENT
        assert downloads(hub)[-1] == "bytes=1000-"

    def test_a_part_that_is_too_long_is_dropped(self, norm, home):
        (home / "originals").mkdir(parents=True)
        (home / "originals" / "norm.npz.part").write_bytes(CONTENT + b"more")
        assert fetch(norm).read_bytes() == CONTENT

    def test_gone_offline_or_unreachable(self, norm, hub, monkeypatch):
        del hub.files["files/norm.npz"]
        refused(norm, "404", norm.source.address)
        refused(replace(norm, source=Url("http://127.0.0.1:9/norm.npz")), "127.0.0.1:9", "refused")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        refused(norm, "HF_HUB_OFFLINE")

    def test_a_wrong_digest_is_not_kept(self, norm, home, monkeypatch):
        monkeypatch.setitem(PINS, norm.original, (None, "beef" * 16))
        refused(norm, DIGEST[:16])
        assert not (home / "originals" / "norm.npz").exists()

    def test_a_folder_that_cannot_be_made(self, norm, home):
        home.parent.mkdir(parents=True)
        home.write_text("in the way")
        refused(norm, "cannot write", str(home))


class TestLicences:
    def test_accepted_once(self, home):
        entries = [ENTRIES[name] for name in ("decoder", "kdtalker", "warping", "kdtalker_norm")]
        assert unaccepted(entries) == ["MIT (LivePortrait)", "CC BY-NC 4.0 (KDTalker)"]
        accept(unaccepted(entries))
        assert unaccepted([*entries, ENTRIES["audio"]]) == [ENTRIES["audio"].licence]

    def test_a_record_of_a_file_keeps_the_licences(self, home):
        accept(["A"])
        record_file("decoder", Record("here", "there", 1, "0", "1"))
        accept(["B"])
        assert set(read_lock().licences) == {"A", "B"}
        assert read_lock().files["decoder"].original == "there"

    @pytest.mark.parametrize("content", ["", "[]", '{"licences": {}}', '{"licences": {}, "files": {"decoder": {}}}'])
    def test_a_damaged_lock_file_is_named(self, home, content):
        home.mkdir(parents=True)
        lock_path().write_text(content)
        with pytest.raises(WeightsError, match=rf"{lock_path()} is damaged .*delete it"):
            read_lock()
