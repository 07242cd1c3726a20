"""The frozen clip list comes back as it was written, and a spoilt one is one line that says where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kptalk.errors import DatasetError
from kptalk.evaluate.clips import clip_list, read_clip_list
from kptalk.evaluate.result import Clip

SHA = "0123456789abcdef" * 4
NAMES = st.text(st.characters(exclude_characters="/\0\\"), min_size=1, max_size=20).filter(
    lambda n: n not in (".", "..")
)


@given(st.lists(st.builds(Clip, NAMES, st.just(SHA), st.integers(1, 10**6)), min_size=1, unique_by=lambda c: c.name))
def test_a_list_comes_back(tmp_path_factory, clips):
    # Names of files hold bytes that are no UTF-8 as U+DC80 to U+DCFF; other surrogates are in no name.
    clips = [Clip("".join("\udcff" if "\ud800" <= c <= "\udfff" else c for c in clip.name), SHA, 1) for clip in clips]
    clips = list({clip.name: clip for clip in clips}.values())
    path = tmp_path_factory.mktemp("list") / "clips.csv"
    path.write_bytes(clip_list(clips).encode("utf-8", "surrogateescape"))
    assert read_clip_list(path) == tuple(clips)


def test_a_spreadsheet_may_have_saved_it(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_bytes(f'\ufeffname,sha256,frames\r\n"a, b.mp4",{SHA},25\r\n\r\n'.encode())
    assert read_clip_list(path) == (Clip("a, b.mp4", SHA, 25),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no clip list"),
        (f"a.mp4,{SHA},5\n", "first line must be name,sha256,frames"),
        ("name,sha256,frames\n", "names no clip"),
        (f"name,sha256,frames\na.mp4,{SHA}\n", "line 2: 2 values"),
        (f"name,sha256,frames\na.mp4,{SHA},5\na.mp4,{SHA},5\n", "line 3: 'a.mp4' is listed twice"),
        (f"name,sha256,frames\n../a.mp4,{SHA},5\n", "line 2: '../a.mp4' is not the name of a file"),
        (f"name,sha256,frames\n,{SHA},5\n", "line 2: '' is not the name of a file"),
        (f"name,sha256,frames\n..,{SHA},5\n", "line 2: '..' is not the name of a file"),
        ("name,sha256,frames\na.mp4,abc,5\n", "line 2: 'abc' is not a sha256"),
        (f"name,sha256,frames\na.mp4,{SHA},0\n", "line 2: '0' is not a number of frames"),
        (f"name,sha256,frames\na.mp4,{SHA},2.5\n", "line 2: '2.5' is not a number of frames"),
        (f'name,sha256,frames\n"a.mp4,{SHA},5\n', "cannot read clip list"),
    ],
)
def test_spoilt_lists_say_where(tmp_path, content, message):
    path = tmp_path / "clips.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_clip_list(path)
    assert "\n" not in str(caught.value)


def test_absent_lists_and_folders_are_one_line(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(DatasetError, match="cannot read clip list"):
            read_clip_list(path)
