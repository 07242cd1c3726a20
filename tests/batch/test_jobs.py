"""Rows of a batch: tables of all kinds, what a row takes, and what is wrong with one."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batches import inputs, jsonl, table
from voices import program

from kptalk.batch import cross
from kptalk.batch.jobs import COLUMNS, Checker, Job, read_rows
from kptalk.cli import options
from kptalk.errors import InputError, KptalkError, MissingExtra, OptionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def check(folder):
    def checked(defaults=None, number=1, **row):
        return Checker(folder, defaults or {}).check(number, {"portrait": "anna.png", "speech": "long.wav"} | row)

    return checked


ROWS = [{"portrait": "anna.png", "speech": "short.wav", "seed": 3, "output": "a.mp4"}, {"portrait": "b.png"}]


def test_all_kinds_of_tables_hold_the_same_rows(tmp_path, folder):
    csv_file, lines = table(tmp_path / "jobs.csv", ROWS), jsonl(tmp_path / "jobs.jsonl", ROWS)
    pq.write_table(pa.Table.from_pylist([ROWS[0], dict.fromkeys(ROWS[0]) | ROWS[1]]), tmp_path / "jobs.parquet")
    checker = Checker(folder, {})
    assert [len(list(read_rows(path))) for path in (csv_file, lines, tmp_path / "jobs.parquet")] == [2, 2, 2]
    jobs = [checker.check(1, next(read_rows(path))) for path in (csv_file, lines, tmp_path / "jobs.parquet")]
    assert jobs[0] == jobs[1] == jobs[2]
    assert jobs[0].options == {"seed": 3}
    assert jobs[0].portrait == str(folder / "anna.png")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "jobs.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot read jobs from"):
        list(read_rows(tmp_path / "jobs.parquet"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'kptalk\[cluster\]'"):
        list(read_rows(tmp_path / "jobs.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("jobs.csv", "portrait,mood\na.png,happy\n", "unknown columns: mood"),
        ("jobs.csv", b"\xff\xfe\x00", "cannot read jobs"),
        ("jobs.txt", "a.png", "ends in .csv"),
        ("jobs.csv", "", "empty"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=words):
        list(read_rows(path))


def test_bad_rows_are_among_the_good(tmp_path):
    path = jsonl(tmp_path / "jobs.jsonl", [ROWS[0], "{not json", "[1, 2]", "[" * 9999, ROWS[1]])
    kinds = [isinstance(row, InputError) for row in read_rows(path)]
    assert kinds == [False, True, True, True, False]
    (tmp_path / "jobs.csv").write_text("portrait,speech\na.png,b.wav,c\n")
    assert [isinstance(row, InputError) for row in read_rows(tmp_path / "jobs.csv")] == [True]


def test_columns_are_the_options_of_animate():
    """Apart from what belongs to a run, and the flag of a file of its own."""
    assert set(options.Speaking.__dataclass_fields__) <= set(COLUMNS)


def test_values_come_as_the_command_line_has_them(check):
    job = check(blinks="off", refine="yes", stitch="False", fps="29.97", size="256", face="2", yaw="3.5", style="calm")
    assert job.options == {
        "blinks": 0.0, "refine": True, "stitch": False, "fps": "30000/1001", "size": 256, "yaw": 3.5, "style": "calm"
    }  # fmt: skip
    assert job.face == 2
    assert check(seed=float("nan"), size=None, pose="", blinks="auto").options == {}
    assert Job.from_json(job.to_json()) == job


def test_a_row_comes_before_the_defaults(check, folder):
    job = check({"seed": 1, "size": 128, "text": "Hello"}, seed=2)
    assert job.options == {"seed": 2, "size": 128}
    assert (job.text, job.speech) == (None, str(folder / "long.wav"))


def test_names_of_outputs(check):
    assert check().output == "anna-long.mp4"
    assert check(output="./takes//a.mp4", save_motion="m/a.safetensors").outputs == ["takes/a.mp4", "m/a.safetensors"]


def test_a_text_needs_a_voice(check, folder, tmp_path):
    said = check({"tts": f"{program(tmp_path)} {{wav}}", "text": "Hello"}, speech="", number=7)
    assert (said.text, said.speech, said.output) == ("Hello", None, "anna-7.mp4")
    (tmp_path / "news.txt").write_text("Nothing happened.")
    assert check(speech="", text_file=str(tmp_path / "news.txt"), tts=said.tts).text == "Nothing happened."
    with pytest.raises(OptionError, match="there is no program"):
        check(speech="", text="Hello", tts="no-such-voice {wav}")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"portrait": ""}, "give a portrait, and one of"),
        ({"speech": ""}, "give a portrait, and one of"),
        ({"text": "Hello"}, "give a portrait, and one of"),
        ({"voice": "anna"}, "speech is a recording"),
        ({"portrait": "nobody.png"}, "cannot open"),
        ({"portrait": "long.wav"}, "are portrait and speech swapped"),
        ({"pose": "nod.mp4"}, "cannot open"),
        ({"seed": "many"}, "seed is 'many'"),
        ({"seed": [7]}, r"seed is \[7\]: give a word or a number"),
        ({"text_file": {"a": 1}, "speech": ""}, "give a word or a number"),
        ({"face": "left"}, "face is 'left'"),
        ({"mood": "happy"}, "unknown columns: mood"),
        ({"output": "../a.mp4"}, "give a name below the folder"),
        ({"output": "/a.mp4"}, "give a name below the folder"),
        ({"output": ".hidden/a.mp4"}, "give a name below the folder"),
        ({"output": "a.avi"}, "ending in .mp4"),
        ({"output": "a" * 300 + ".mp4"}, "at most 255 bytes"),
        ({"save_motion": "a.mp4"}, "ending in .safetensors"),
    ],
)
def test_what_is_wrong_with_a_row(check, row, words):
    with pytest.raises(KptalkError, match=words):
        check(**row)


def test_crossed_patterns(folder):
    rows = cross(f"{folder}/*.png", f"{folder}/*.wav")
    assert len(rows) == 4
    assert rows[0] == {"portrait": f"{folder}/anna.png", "speech": f"{folder}/long.wav"}
    assert cross(f"{folder}/a*.png") == [{"portrait": f"{folder}/anna.png"}]
    with pytest.raises(OptionError, match=r"speeches is '.*\.ogg': no file"):
        cross(f"{folder}/*.png", f"{folder}/*.ogg")


def test_longest_first(check, folder):
    assert check().length() > check(speech="short.wav").length() > 0
