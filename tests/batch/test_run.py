"""A batch as a whole: what it makes, keeps, names and survives, with stand-ins for the models."""

import hashlib
import shutil
from pathlib import Path

import pytest
from batches import inputs, listed, made, no_models, table

from kptalk.batch import run_batch
from kptalk.batch.results import HEAD, Result
from kptalk.batch.storage import storage_of
from kptalk.errors import InputError, OptionError, OutputError, WeightsError
from kptalk.media.clip import probe
from kptalk.types import Motion


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def drawn(monkeypatch):
    return no_models(monkeypatch)


@pytest.fixture
def jobs(source):
    """Two that can be done, one without a face and one whose file is missing."""
    rows = [
        {"portrait": "anna.png", "speech": "short.wav", "output": "a.mp4", "seed": "1"},
        {"portrait": "anna.png", "speech": "long.wav", "output": "more/b.mp4"},
        {"portrait": "landscape.png", "speech": "short.wav", "output": "c.mp4"},
        {"portrait": "nobody.png", "speech": "short.wav", "output": "d.mp4"},
    ]
    return table(source / "jobs.csv", rows)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_row_is_made_or_says_why_not(drawn, jobs, tmp_path):
    found, known = made(jobs, tmp_path / "out")
    assert not known
    assert [found[number].status for number in (1, 2, 3, 4)] == ["done", "done", "failed", "failed"]
    assert "no human face" in found[3].error
    assert "nobody.png" in found[4].error
    assert (found[1].frames, found[2].frames) == (10, 20)
    assert probe(tmp_path / "out/more/b.mp4").has_audio
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.csv", "a.mp4", "more"}
    lines = listed(tmp_path / "out")
    assert [line["output"] for line in lines] == ["a.mp4", "more/b.mp4", "c.mp4", "d.mp4"]
    for line in lines[:2]:
        video = tmp_path / "out" / line["output"]
        assert (line["sha256"], int(line["bytes"])) == (digest(video), video.stat().st_size)


def test_longest_first(drawn, jobs, tmp_path):
    order = [progress.result.row for progress in run_batch(jobs, tmp_path / "out")]
    assert order == [4, 2, 1, 3]  # what is known without work comes before


def test_what_is_done_is_kept_and_what_has_changed_is_made_anew(drawn, jobs, source, tmp_path):
    out = tmp_path / "out"
    made(jobs, out)
    before = listed(out)
    drawn.clear()
    found, known = made(jobs, out)
    assert known == {1, 2, 3, 4}
    assert not drawn
    assert listed(out) == before
    (out / "a.mp4").unlink()
    assert made(jobs, out)[1] == {2, 3, 4}
    rows = [{"portrait": "anna.png", "speech": "short.wav", "output": "a.mp4", "seed": "2"}]
    assert made(table(source / "other.csv", rows), out)[1] == set()
    assert [line["output"] for line in listed(out)] == ["more/b.mp4", "c.mp4", "d.mp4", "a.mp4"]
    shutil.copy(source / "long.wav", source / "copy.wav")
    rows[0] |= {"speech": "copy.wav"}
    made(table(source / "other.csv", rows), out)
    shutil.copy(source / "short.wav", source / "copy.wav")
    found, known = made(source / "other.csv", out)
    assert (found[1].frames, known) == (10, set())


def test_failed_rows_are_tried_again_where_asked(drawn, jobs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    made(jobs, out)
    assert made(jobs, out, retry=True)[1] == {1, 2, 4}
    monkeypatch.setattr("kptalk.face.portraits.find_portrait", None)
    found, _ = made(jobs, out, retry=True)
    assert found[3].error.startswith("TypeError:")


def test_a_worker_that_dies_fails_its_row_alone(monkeypatch, jobs, tmp_path):
    no_models(monkeypatch, lost={"a.mp4"})
    found, _ = made(jobs, tmp_path)
    assert found[1].error == "the worker was killed by signal 9, 4 times"
    assert found[2].status == "done"
    monkeypatch.undo()
    no_models(monkeypatch)
    assert 1 in made(jobs, tmp_path)[1]
    assert made(jobs, tmp_path, retry=True)[0][1].status == "done"


def test_the_motion_is_saved_beside(drawn, source, tmp_path):
    rows = [{"portrait": source / "anna.png", "speech": source / "short.wav", "save_motion": "a.safetensors"}]
    found, _ = made(rows, tmp_path)
    assert len(Motion.load(tmp_path / "a.safetensors")) == found[1].frames == 10


def test_two_rows_with_one_output_are_an_error_before_any_work(drawn, source, tmp_path):
    row = {"portrait": source / "anna.png", "speech": source / "short.wav"}
    with pytest.raises(OutputError, match=r"rows 1 and 2 both write anna-short\.mp4"):
        made([row, row], tmp_path)
    bad = {**row, "seed": "many", "output": "anna-short.mp4"}
    with pytest.raises(OutputError, match=r"rows 1 and 2 both write"):
        made([bad, row], tmp_path)
    assert not drawn
    with pytest.raises(InputError, match="there is no job"):
        made([], tmp_path)


def test_a_second_run_in_the_same_folder_says_so(drawn, jobs, tmp_path):
    first = run_batch(jobs, tmp_path)
    next(first)
    with pytest.raises(OutputError, match="another run is writing"):
        next(run_batch(jobs, tmp_path))
    first.close()
    assert len(made(jobs, tmp_path)[0]) == 4


@pytest.mark.parametrize("moment", ["delivered", "written"])
def test_what_is_complete_is_never_made_again(drawn, jobs, tmp_path, monkeypatch, moment):
    """A run is killed when its video is there but has no result, or no name."""
    from kptalk.batch import results, storage

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "delivered":
            patch.setattr(results.ResultFile, "add", lambda self, result: result.status == "done" and killed())
        else:
            patch.setattr(storage.Folder, "place", killed)
        with pytest.raises(Killed):
            made(jobs, tmp_path)
    drawn.clear()
    (tmp_path / ".unfinished" / "making-left").mkdir()
    found, known = made(jobs, tmp_path)
    assert found[2].status == "done"
    assert found[2].frames == 20
    assert sum(drawn) == 10  # the other one's frames alone
    assert 2 not in known
    assert not (tmp_path / ".unfinished").exists()


def test_a_line_that_is_not_whole_is_left_out(drawn, jobs, tmp_path):
    made(jobs, tmp_path)
    path = tmp_path / "results.csv"
    path.write_text(path.read_text().rstrip("\n")[:-20])
    assert made(jobs, tmp_path)[1] == {1, 2, 3}
    assert len(listed(tmp_path)) == 4


@pytest.mark.parametrize("content", ["name,score\na,1\n", HEAD + "one,a.mp4,done\n", HEAD + "x,a.mp4,done,1,1,1,,,,\n"])
def test_a_file_that_is_not_ours_is_not_written_to(drawn, jobs, tmp_path, content):
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(OutputError, match="move it away"):
        made(jobs, tmp_path)
    assert (tmp_path / "results.csv").read_text() == content


def test_results_are_lines_whatever_they_say():
    line = Result(3, 'a "b", c.mp4', "failed", 1.25, error="two\nlines").line()
    assert line == '3,"a ""b"", c.mp4",failed,1.250,0,0,,,two lines,\n'


def test_what_no_row_is_at_fault_for_ends_the_batch(drawn, jobs, source, tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no model"):
        made(jobs, tmp_path, {"model": str(tmp_path)})
    with pytest.raises(OptionError, match="engine"):
        made(jobs, tmp_path, engine="slurm")

    def full(*_):
        raise OutputError("cannot write: No space left on device")

    monkeypatch.setattr("kptalk.batch.storage.Folder.deliver", full)
    with pytest.raises(OutputError, match="No space left"):
        made(jobs, tmp_path)


def test_a_url_is_written_to_by_the_workers(drawn, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("kptalk.batch.storage.PART_ROWS", 1)
    url = f"file://{tmp_path}/out"
    first = run_batch(jobs, url)
    for _ in range(3):
        next(first)
    first.close()  # its results are in parts
    assert len(list((tmp_path / "out").glob("results-*.part.csv"))) >= 3
    found, known = made(jobs, url)
    assert {4, 2, 1} <= known
    assert [found[number].status for number in (1, 2, 3, 4)] == ["done", "done", "failed", "failed"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.csv", "a.mp4", "more"}
    assert digest(tmp_path / "out/a.mp4") == found[1].sha256
    drawn.clear()
    assert made(jobs, url)[1] == {1, 2, 3, 4}
    assert not drawn
    with pytest.raises(OptionError, match="nowhere"):
        made(jobs, "nowhere://a/b")


def test_results_of_a_later_run_count_although_the_clock_went_back(tmp_path, monkeypatch):
    for now, status in ((2_000_000_000.0, "failed"), (1_000_000_000.0, "done")):
        monkeypatch.setattr("time.time", lambda now=now: now)
        storage = storage_of(f"file://{tmp_path}")
        storage.open().add(Result(1, "a.mp4", status))
        storage.close(finished=False)
    assert [result.status for result in storage_of(f"file://{tmp_path}").open().read()] == ["failed", "done"]


def test_workers_without_the_folder_send_their_files(drawn, jobs, source, tmp_path, monkeypatch):
    """Inputs go with the rows, and the worker reads no path of this machine."""
    from kptalk.batch import run
    from kptalk.batch.worker import Maker, Task

    expected, _ = made(jobs, tmp_path / "seen")
    storage = storage_of(tmp_path / "unseen")
    storage.shared = False
    storage.open()
    models = {"embedded": run.open_model("embedded").digest()}
    maker = Maker(storage, models)
    job = run.Checker(source, {}).check(
        1, {"portrait": "anna.png", "speech": "short.wav", "seed": 1, "output": "a.mp4"}
    )
    contents = {path: Path(path).read_bytes() for path in job.files.values()}
    moved = {"portrait": "/else/where.png", "speech": "/else/where.wav"}
    there = type(job)(**{**job.__dict__, **moved})
    sent = dict(zip(moved.values(), contents.values(), strict=True))
    answer = maker(Task(there, contents=sent))
    (file,) = answer.files
    assert hashlib.sha256(file[2]).hexdigest() == answer.result.sha256 == expected[1].sha256
    assert answer.result.digest == expected[1].digest
    storage.place(*file)
    assert digest(tmp_path / "unseen/a.mp4") == expected[1].sha256
    storage.close(finished=True)


class Machines:
    """A cluster in the place of Ray's: what its machines see, and how many GPUs they have."""

    def __init__(self, seen, gpus=0):
        self.seen, self.gpus, self.asked = seen, gpus, None

    def __call__(self, address):
        self.asked = address
        return self

    __enter__ = __exit__ = lambda self, *_: self

    def count(self, kind):
        return {"GPU": self.gpus}[kind]

    def everywhere(self, function):
        folder, files = function()  # here all is seen
        assert folder
        assert files
        return self.seen


@pytest.mark.parametrize(("seen", "sent"), [([(True, True)] * 3, 0), ([(True, True), (False, False)], 2)])
def test_a_cluster_that_does_not_see_the_files_gets_them(drawn, jobs, tmp_path, monkeypatch, seen, sent):
    """One machine that does not see them is enough; what was made is then known here, not there."""
    from kptalk.batch import run

    machines, tasks = Machines(seen), []
    ours = run.map_rows

    def map_rows(build, rows, **options):
        return ours(build, (tasks.append(row) or row for row in rows), **options)

    monkeypatch.setattr(run, "Cluster", machines)
    monkeypatch.setattr(run, "map_rows", map_rows)
    found, _ = made(jobs, tmp_path / "out", engine="ray", address="head")
    assert machines.asked == "head"
    assert [found[number].status for number in (1, 2, 3, 4)] == ["done", "done", "failed", "failed"]
    assert [len(task.contents or ()) for task in tasks] == [sent] * 3
    assert digest(tmp_path / "out/more/b.mp4") == found[2].sha256
    assert made(jobs, tmp_path / "out", engine="ray")[1] == {1, 2, 3, 4}
    (tmp_path / "out/a.mp4").unlink()
    assert made(jobs, tmp_path / "out", engine="ray")[1] == {2, 3, 4}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.csv", "a.mp4", "more"}


@pytest.mark.parametrize(("given", "device", "asked"), [(None, "auto", 1), (None, "cpu", 0), (0.25, "auto", 0.25)])
def test_workers_of_a_cluster_with_gpus_ask_for_one(drawn, jobs, tmp_path, monkeypatch, given, device, asked):
    from kptalk.batch import run

    told, ours = {}, run.map_rows

    def map_rows(build, rows, **options):
        told.update(options)
        return ours(build, rows, **options)

    monkeypatch.setattr(run, "Cluster", Machines([(True, True)], gpus=2))
    monkeypatch.setattr(run, "map_rows", map_rows)
    made(jobs, tmp_path / "out", engine="ray", device=device, gpus=given, workers=3)
    assert (told["gpus"], told["jobs"], told["engine"]) == (asked, 3, "ray")
