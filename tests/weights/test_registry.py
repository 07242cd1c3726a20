"""The table is complete and unambiguous, and a missing file is one line that says how to get it."""

import re
from pathlib import Path

import pytest

from kptalk.errors import WeightsError
from kptalk.weights.registry import ENTRIES, PINS, Hub, converted_path, entries_in, official_path, weights_folder


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KPTALK_HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "weights" / "official"
    monkeypatch.delenv("KPTALK_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache" / "kptalk" / "weights" / "official"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == Path(tmp_path, ".cache/kptalk/weights/official")


@pytest.mark.parametrize("name", ENTRIES)
def test_a_missing_file_is_one_line_with_the_command(home, name):
    with pytest.raises(WeightsError, match=f"kptalk weights pull {name}`") as caught:
        official_path(name)
    assert "\n" not in str(caught.value)
    assert ENTRIES[name].original in str(caught.value)


def test_a_file_that_is_there_is_given(home):
    path = converted_path(ENTRIES["arcface"])
    path.parent.mkdir(parents=True)
    path.touch()
    assert official_path("arcface") == path == home / "arcface.onnx"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'syncnot'.*syncnet"):
        official_path("syncnot")


def test_the_table_is_unambiguous():
    entries = list(ENTRIES.values())
    assert len({entry.converted for entry in entries}) == len(entries)
    assert len({(entry.original, entry.key) for entry in entries}) == len(entries)
    for entry in entries:
        assert entry in entries_in(entry.original)
        assert entry.licence
        assert entry.page.startswith("https://")
        if isinstance(entry.source, Hub):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.source.repository)
        else:
            assert entry.source.address.startswith("https://")


def test_what_can_be_pinned_is():
    originals = {entry.original for entry in ENTRIES.values()}
    assert originals - set(PINS) == {"KDTalker.pth", "wav2lip.pth", "hopenet_robust_alpha1.pkl"}
    assert set(PINS) <= originals
    for size, digest in PINS.values():
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", digest)
        assert size is None or size > 0


def test_copies_under_other_names_are_known():
    assert [entry.name for entry in entries_in("pt_inception-2015-12-05-6726825d.pth")] == ["inception"]
    assert len(entries_in("stitching_retargeting_module.pth")) == 2
    assert entries_in("model.pth") == []
