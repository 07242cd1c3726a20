"""``kptalk ablate`` at smoke size: cells, resuming, intervals, the page."""

import csv

import pytest

from kptalk.errors import OptionError
from kptalk.train import ablate as module
from kptalk.train.ablate import VARIANTS, Results, Variant, ablate, page
from kptalk.train.quality import COLUMNS

SMALL = ["steps=2", "versions=1", "dim=16", "heads=1", "depth=2"]


@pytest.mark.slow
def test_variants_are_trained_measured_and_not_done_twice(kptalk, stored, tmp_path, monkeypatch):
    chosen = [each for each in VARIANTS if each.name in ("full", "VAE+GAN", "15 keypoints", "2 steps")]
    monkeypatch.setattr(module, "VARIANTS", (*chosen, Variant(7, "8 frames", window=8)))
    folder = tmp_path / "out"
    argv = ["ablate", "--data", stored, "-o", folder, "--config", "smoke", "--seeds", 1, "--device", "cpu"]
    status, out, err = kptalk(*argv, *(f"--set={change}" for change in SMALL))
    assert status == 0, err
    assert all(f"## Table {number}" in out for number in range(3, 8))
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == [*(each.name for each in chosen), "8 frames"]
    assert all(float(row["cpu"]) > 0 for row in rows)
    trained = {path.parent.name for path in (folder / "models").glob("*/weights.safetensors")}
    assert trained == {
        "diffusion_21-seed0",
        "VAE-GAN_21-seed0",
        "diffusion_15-seed0",
        "diffusion_21_window-8-seed0",
    }
    monkeypatch.setattr(module.generators, "build", lambda *_: pytest.fail("trained again"))
    again = kptalk(*argv, *(f"--set={change}" for change in SMALL))[1]
    assert again.strip() == (folder / "ablations.md").read_text().strip()


@pytest.mark.slow
def test_an_interrupted_ablation_ends_as_an_uninterrupted_one(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VARIANTS", [each for each in VARIANTS if each.table == 6][:2])

    def run(name):
        return ablate(stored, tmp_path / name, config="smoke", changes=SMALL, seeds=1, device="cpu")

    class Stopped(Exception):
        pass

    def stop(text):
        if text.startswith("2/"):
            raise Stopped

    run("whole")
    with pytest.raises(Stopped):
        ablate(stored, tmp_path / "parts", config="smoke", changes=SMALL, seeds=1, device="cpu", notice=stop)
    run("parts")
    tables = [
        [{k: v for k, v in row.items() if k != "cpu"} for row in Results(tmp_path / name / "results.csv").rows]
        for name in ("whole", "parts")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 2


def test_intervals_are_over_seeds(tmp_path):
    results = Results(tmp_path / "results.csv")
    for seed, r in enumerate((0.4, 0.5, 0.6)):
        results.add(VARIANTS[0], seed, {column.key: r for column in COLUMNS})
    assert "| full | 3 | 0.5 ± 0.25 |" in page(results, "`smoke`")
    assert Results(tmp_path / "results.csv").rows == results.rows
    assert "without RoPE" not in page(results, "`smoke`")


@pytest.mark.parametrize("wrong", [{"tables": [2]}, {"seeds": 0}, {"config": "huge"}])
def test_what_cannot_be_ablated(tmp_path, wrong):
    with pytest.raises(OptionError):
        ablate(tmp_path, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_tables_are_numbers(kptalk, tmp_path):
    status, _, err = kptalk("ablate", "--data", tmp_path, "-o", tmp_path / "out", "--tables", "three")
    assert status == 2
    assert "--tables is three" in err
