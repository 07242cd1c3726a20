"""What a study's folder holds, what it hides, and what is refused."""

import errno
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import write_methods, write_video

from kptalk.errors import InputError, OptionError, OutputError
from kptalk.evaluate.study.build import build_study

METHODS = ["SecretAlpha", "SecretBeta"]
CLIPS = ["anna.mp4", "bert.mp4", "carl.mp4"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_methods(tmp_path_factory.mktemp("methods"), METHODS, CLIPS)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Scripts(HTMLParser):
    """Tags and the texts of scripts, as a browser's parser sees them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


def shown(page: Path) -> dict:
    return json.loads(Scripts((page / "index.html").read_text("utf-8")).scripts[0])


def test_the_page_shows_all_and_gives_nothing_away(folders, tmp_path):
    study = build_study(folders, tmp_path / "study")
    assert (study.methods, study.clips, study.notes) == (tuple(METHODS), 3, ())
    content = files_of(study.page)
    assert len(content) == 1 + 6
    for secret in [*METHODS, *(Path(clip).stem for clip in CLIPS)]:
        assert not any(secret.lower() in name.lower() for name in content)
        assert secret.lower() not in content["index.html"].decode().lower()
    assert all(re.fullmatch(r"index\.html|videos/[0-9a-f]{12}\.mp4", name) for name in content)
    assert {name for clip in shown(study.page)["clips"] for name in clip["videos"].values()} == {*content} - {
        "index.html"
    }


def test_the_key_tells_which_video_is_whose(folders, tmp_path):
    study = build_study(folders, tmp_path / "study")
    assert study.key.parent == study.page.parent
    for clip in json.loads(study.key.read_text())["clips"]:
        for code, video in clip["videos"].items():
            original = tmp_path.joinpath(*folders[0].parent.parts, video["method"], clip["name"])
            assert (study.page / "videos" / f"{code}.mp4").read_bytes() == original.read_bytes()


def test_the_page_needs_nothing_from_elsewhere(folders, tmp_path):
    page = (build_study(folders, tmp_path / "study").page / "index.html").read_text("utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(|{{", page)
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=\"(?!data:,)", page)


def test_the_seed_decides_the_names(folders, tmp_path):
    first, again, other = (build_study(folders, tmp_path / name, seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)])
    assert files_of(first.page) == files_of(again.page)
    assert first.key.read_bytes() == again.key.read_bytes()
    assert not files_of(first.page).keys() & files_of(other.page).keys() - {"index.html"}
    assert shown(first.page)["study"] != shown(other.page)["study"]


def test_clips_that_cannot_be_shown_from_all_are_named_and_left_out(folders, tmp_path):
    mine = shutil.copytree(folders[0], tmp_path / "mine")
    (mine / "anna.mp4").unlink()
    (mine / "bert.mp4").write_bytes((mine / "bert.mp4").read_bytes()[:300])
    (mine / "notes.txt").write_text("no video")
    (mine / ".hidden.mp4").write_text("no video")
    study = build_study([mine, folders[1]], tmp_path / "study")
    assert study.clips == 1
    absent, damaged = study.notes
    assert absent == "anna.mp4 left out: absent in mine"
    assert damaged.startswith("bert.mp4 left out: ")


def write_raw(path: Path, codec: str, pixels: str) -> None:
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "seen"),
    [
        ("anna.mp4", "mpeg4", "yuv420p", "mpeg4 in yuv420p, which browsers do not play"),
        ("anna.mp4", "libx264", "yuv444p", "h264 in yuv444p, which browsers do not play"),
        ("anna.avi", "mpeg4", "yuv420p", "does not end in .mp4"),
    ],
)
def test_videos_that_browsers_do_not_play_are_told_at_once(tmp_path, name, codec, pixels, seen):
    for method in METHODS:
        (tmp_path / method).mkdir()
        write_raw(tmp_path / method / name, codec, pixels)
    with pytest.raises(InputError, match=seen):
        build_study([tmp_path / method for method in METHODS], tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_video_without_sound_is_told(folders, tmp_path):
    mine = shutil.copytree(folders[0], tmp_path / "mine")
    (mine / "bert.mp4").unlink()
    write_video(mine / "bert.mp4", 9, sound=False)
    assert build_study([mine, folders[1]], tmp_path / "study").notes == ("bert.mp4 of mine has no sound",)


def test_a_title_that_names_a_method_is_told(folders, tmp_path):
    study = build_study(folders, tmp_path / "study", title="SecretBeta or another")
    assert study.notes == ("the title names SecretBeta: participants see it",)


def test_what_makes_no_study_is_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    for wrong, error in [
        (folders[:1], OptionError),
        (folders * 5, OptionError),
        ([folders[0], folders[0]], InputError),
        ([folders[0], tmp_path / "absent"], InputError),
        ([folders[0], folders[0] / CLIPS[0]], InputError),
        ([folders[0], tmp_path / "empty"], InputError),
    ]:
        with pytest.raises(error) as caught:
            build_study(wrong, tmp_path / "study")
        assert "\n" not in str(caught.value)
    with pytest.raises(OptionError):
        build_study(folders, tmp_path / "study", title=" \n")
    with pytest.raises(OutputError):
        build_study(folders, tmp_path / "no" / "study")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_folders_of_one_name_are_told_apart_by_those_above(folders, tmp_path):
    twin = shutil.copytree(folders[1], tmp_path / "other" / METHODS[0])
    above = folders[0].parent.name
    assert build_study([folders[0], twin], tmp_path / "study").methods == (
        f"{above}/{METHODS[0]}",
        f"other/{METHODS[0]}",
    )


def test_what_is_there_is_kept(folders, tmp_path):
    study = build_study(folders, tmp_path / "study", seed=1)
    before = files_of(tmp_path)
    with pytest.raises(OutputError, match="exists already"):
        build_study(folders, study.page, seed=2)
    study.page.rename(tmp_path / "moved")
    with pytest.raises(OutputError, match="exists already"):  # a lost key would make all votes worthless
        build_study(folders, study.page, seed=2)
    (tmp_path / "moved").rename(study.page)
    assert files_of(tmp_path) == before


def test_only_a_study_is_overwritten(folders, tmp_path):
    study = build_study(folders, tmp_path / "study", seed=1)
    old = study.key.read_bytes()
    build_study(folders, study.page, seed=2, overwrite=True)
    assert study.key.read_bytes() != old
    assert len(files_of(study.page)) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study", "study.key.json"]
    (study.page / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not a study"):
        build_study(folders, study.page, overwrite=True)
    assert (study.page / "thesis.tex").exists()


def test_a_full_disk_leaves_nothing_behind(folders, tmp_path, monkeypatch):
    def full(source, target):
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="No space left"):
        build_study(folders, tmp_path / "study")
    assert list(tmp_path.iterdir()) == []


def test_names_with_markup_stay_names(tmp_path):
    clip = "</script><script>alert(1)<!-- \"'&é\n中.mp4".replace("/", "\u2044")
    method = "<b onload='x'>\"&amp;ñ\x1b[31m"
    study = build_study(write_methods(tmp_path, [method, "plain"], [clip, "b.mp4"]), tmp_path / "study")
    assert study.methods == (method.replace("\x1b", "\ufffd"), "plain")
    assert {entry["name"] for entry in json.loads(study.key.read_text())["clips"]} == {clip, "b.mp4"}
    page = (study.page / "index.html").read_text("utf-8")
    assert Scripts(page).tags.count("script") == 2
    assert "alert(" not in page
    assert "onload" not in page


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["<", "</script", ">", "<!--", "&", '"', "'", "{{STUDY}}", "\u2028", "\\", "a", "é", " "]))
    .map("".join)
    .filter(str.strip)
)
def test_any_title_stays_a_title(folders, tmp_path, title):
    build_study(folders, tmp_path / "study", title=title, overwrite=True)
    page = (tmp_path / "study" / "index.html").read_text("utf-8")
    parsed = Scripts(page)
    assert parsed.tags.count("script") == 2
    assert parsed.tags.count("title") == 1
    assert json.loads(parsed.scripts[0])["title"] == " ".join(title.split())
