"""What is to be prepared: folders, globs, lists, tables, and the layouts of HDTF and VoxCeleb2."""

import pytest

from kptalk.errors import DatasetError
from kptalk.train.prepare.sources import find_sources


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(found):
    return [(source.name, source.identity) for source in found[0]]


def test_folders_and_files(tmp_path):
    touch(tmp_path, "in/b.MP4", "in/deep/a.mov", "in/notes.pdf", "c.webm")
    found = find_sources([tmp_path / "in", tmp_path / "c.webm"])
    assert names(found) == [("b", "b"), ("deep/a", "deep/a"), ("c", "c")]
    assert found[0][1].video == tmp_path / "in/deep/a.mov"
    assert found[1] == []


def test_globs(tmp_path, monkeypatch):
    touch(tmp_path, "x/1/a.mp4", "x/2/a.mp4", "x/2/b.txt", "y/a.mp4")
    assert names(find_sources([tmp_path / "x/*/*"])) == [("1/a", "1/a"), ("2/a", "2/a")]
    assert [name for name, _ in names(find_sources([tmp_path / "**/a.mp4"]))] == ["x/1/a", "x/2/a", "y/a"]


def test_lists_and_tables(tmp_path):
    touch(tmp_path, "v/a.mp4", "v/b.mp4")
    (tmp_path / "list.txt").write_text("# mine\nv/a.mp4\n\nv/b.mp4\n")
    assert [name for name, _ in names(find_sources([tmp_path / "list.txt"]))] == ["v/a", "v/b"]
    (tmp_path / "table.csv").write_text("file,identity,start,end\nv/a.mp4,Anna,,\nv/b.mp4,,1.5,3\nv/b.mp4,Bert,4,\n")
    found = find_sources([tmp_path / "table.csv"])
    assert names(found) == [("v/a", "Anna"), ("v/b@1.5", "v/b"), ("v/b@4", "Bert")]
    assert [(source.start, source.end) for source in found[0]] == [(0, None), (1.5, 3), (4, None)]


def test_people(tmp_path):
    touch(tmp_path, "in/a.mp4", "in/b.mp4")
    (tmp_path / "people.csv").write_text("file,identity\nsome/folder/a.mp4,Anna\n")
    assert names(find_sources([tmp_path / "in"], tmp_path / "people.csv")) == [("a", "Anna"), ("b", "b")]


def test_layouts_say_whose_face_it_is(tmp_path):
    touch(
        tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "RD_Radio11_001.mp4", "WDA_KatieHill_000.mp4", "talk_1.mp4"
    )
    assert names(find_sources([tmp_path])) == [
        ("RD_Radio11_001", "RD_Radio11"),
        ("WDA_KatieHill_000", "WDA_KatieHill"),
        ("dev/mp4/id00012/21Uxsk56VDQ/00001", "id00012"),
        ("talk_1", "talk_1"),
    ]


def test_annotations_of_hdtf(tmp_path):
    touch(tmp_path, "raw/RD_Radio11.mp4", "raw/Radio1.mp4", "raw/Radio99.mp4", "notes/none")
    (tmp_path / "notes/RD_annotion_time.txt").write_text(
        "Radio1.mp4 00:20-01:35\nRadio11.mp4 00:30-01:00 01:30-02:30\n"
    )
    (tmp_path / "notes/RD_crop_wh.txt").write_text("Radio11_0.mp4 412 599 0 599\nRadio1_0.mp4 466 535 0 535\n")
    found, left_out = find_sources([tmp_path / "raw"], annotations=tmp_path / "notes")
    assert [(s.name, s.identity, s.start, s.end, s.region) for s in found] == [
        ("RD_Radio11_0", "RD_Radio11", 30, 60, (412, 0, 1011, 599)),
        ("RD_Radio11_1", "RD_Radio11", 90, 150, None),
        ("Radio1_0", "RD_Radio1", 20, 95, (466, 0, 1001, 535)),
    ]
    assert left_out == [(tmp_path / "raw/Radio99.mp4", "no annotation names it")]


VOXCELEB = """Identity  : \tid00012
Reference : \t21Uxsk56VDQ
Offset    : \t-1
FV Conf   : \t20.000\t(0)
ASD Conf  : \t4.011

FRAME \tX \tY \tW \tH

000050 \t0.300 \t0.100 \t0.200 \t0.400
000051 \t0.320 \t0.100 \t0.200 \t0.400
000052 \t0.340 \t0.120 \t0.200 \t0.400
"""


def test_annotations_of_voxceleb(tmp_path):
    touch(tmp_path, "raw/21Uxsk56VDQ.mp4", "txt/id00012/21Uxsk56VDQ/00001.txt")
    (tmp_path / "txt/id00012/21Uxsk56VDQ/00001.txt").write_text(VOXCELEB)
    (source,), _ = find_sources([tmp_path / "raw"], annotations=tmp_path / "txt")
    assert (source.name, source.identity) == ("id00012/21Uxsk56VDQ/00001", "id00012")
    assert (source.start, source.end) == (2.0, 2.12)
    assert source.region == pytest.approx((0.25, 0.05, 0.59, 0.57))


def test_videos_of_one_name_are_not_mistaken_for_each_other(tmp_path):
    touch(tmp_path, "a/1.mp4", "b/1.mp4")
    found, left_out = find_sources([tmp_path / "a", tmp_path / "b", tmp_path / "a/1.mp4"])
    assert [source.video for source in found] == [tmp_path / "a/1.mp4"]
    assert left_out == [(tmp_path / "b/1.mp4", "another video is named 1 too: rename one")]


def test_no_videos(tmp_path):
    for place in (tmp_path, tmp_path / "*.mp4"):
        with pytest.raises(DatasetError, match=r"no videos in .*: give files or folders of \.avi"):
            find_sources([place])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", None, "No such file"),
        ("list.txt", b"\xff\xfe", "utf-8"),
        ("table.csv", b"video\na.mp4\n", "no column 'file'"),
        ("table.csv", b"file,start\na.mp4,soon\n", "could not convert"),
        ("notes/RD_annotion_time.txt", b"Radio1.mp4 00:20\n", "not enough values"),
        ("notes/id00012/x/1.txt", b"Identity\n", "empty"),
    ],
)
def test_lists_that_cannot_be_read_are_named(tmp_path, name, content, message):
    touch(tmp_path, "a.mp4")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    annotations = tmp_path / "notes" if name.startswith("notes") else None
    with pytest.raises(DatasetError, match=path.name) as caught:
        find_sources([tmp_path / "a.mp4" if annotations else path], annotations=annotations)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("file,name\na.mp4,b\n", "no column 'identity'"), (b"\xff\xfe", "utf-8")],
)
def test_a_table_of_people_that_cannot_be_read_is_named_plainly(tmp_path, content, message):
    touch(tmp_path, "a.mp4")
    people = tmp_path / "people.csv"
    if content is not None:
        people.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError, match=r"people\.csv") as caught:
        find_sources([tmp_path], people)
    assert message in str(caught.value)
    assert "file and identity" in str(caught.value)
    assert "Errno" not in str(caught.value)
