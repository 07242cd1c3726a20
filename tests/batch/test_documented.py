"""What docs/batch.md says, done with stand-ins for the models; and deploy's manifest names what there is."""

import re
import shlex
from pathlib import Path

import pytest
from batches import inputs, listed, no_models
from recordings import tone, write_sound
from yaml import safe_load

ROOT = Path(__file__).parents[2]
PAGE, README = (ROOT / "docs/batch.md").read_text(), (ROOT / "README.md").read_text()
CLI = (ROOT / "docs/cli.md").read_text()


def blocks(language, text=PAGE):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the page names."""
    no_models(monkeypatch)
    inputs(tmp_path)
    for folder, face, speech in (
        (".", "face.jpg", "speech.m4a"),
        ("faces", "a.jpg", None),
        ("speeches", None, "b.m4a"),
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        if face:
            (tmp_path / folder / face).write_bytes((tmp_path / "anna.png").read_bytes())
        if speech:
            write_sound(tmp_path / folder / speech, tone(16_000, 0.4), 16_000)
    (table,) = blocks("csv")
    (tmp_path / "jobs.csv").write_text(table)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands(here, kptalk):
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)
        assert words[:2] == ["kptalk", "batch"]
        code, out, err = kptalk(*words[1:])
        assert (code, err) == (0, ""), out
    assert [line["output"] for line in listed(here / "videos")] == ["anna/monday.mp4", "anna/tuesday.mp4"]
    assert (here / "videos/anna/tuesday.mp4").is_file()
    assert (here / "crossed/a-b.mp4").is_file()
    (line,) = [line for block in blocks("sh", README) for line in block.splitlines() if line.startswith("kptalk batch")]
    assert kptalk(*shlex.split(line)[1:])[0] == 0


def test_python(here, capsys):
    (block,) = blocks("python")
    exec(compile(block, "docs/batch.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines() == ["1 2 0.mp4 done", "2 2 1.mp4 done"]


def test_the_manifest_agrees_with_the_program():
    job = safe_load((ROOT / "deploy/kuberay.yaml").read_text())
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["kptalk", "batch"]
    help = next(section for section in CLI.split("\n## ") if section.startswith("kptalk batch\n"))
    for flag in filter(lambda word: word.startswith("-"), words):
        assert f"`{flag}`" in help
    groups = [job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "registry.example/kptalk:latest"
        assert container["volumeMounts"][0]["mountPath"] == "/data"
        assert group["template"]["spec"]["volumes"][0]["name"] == container["volumeMounts"][0]["name"]


@pytest.mark.parametrize("column", ["portrait", "speech", "text_file", "save_motion", "tts", "precision"])
def test_columns_are_named(column):
    assert f"`{column}`" in PAGE
