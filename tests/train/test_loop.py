"""The training loop: goes on where it stopped, keeps the best, notices when it diverges."""

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from kptalk.errors import DatasetError, OptionError, WeightsError
from kptalk.train.loop import LoopConfig, draws
from kptalk.train.loop import fit as fit_both
from kptalk.train.processes import Processes, open_processes

CONFIG = LoopConfig(steps=40, batch=16, warmup=5, score_every=10, learning_rate=0.02, precision="float32")


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))


def fit(*arguments, **keywords):
    return fit_both(*arguments, **keywords).best


def loss(network, draw):
    x = torch.from_numpy(np.stack([draw.rng_of(n).standard_normal(4, np.float32) for n in draw.numbers]))
    return ((network(x) - x.sum(1, keepdim=True)) ** 2).mean()


@torch.no_grad()
def score(network):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32))
    return -float(((network(x) - x.sum(1, keepdim=True)) ** 2).mean())


def weights(network):
    return [value.clone() for value in network.state_dict().values()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class Stopped(Exception):
    """The user's patience."""


def stop_at(step):
    def on_progress(done, total, row):
        if done >= step:
            raise Stopped

    return on_progress


def test_it_learns(tmp_path):
    before = score(model().eval())
    trained = fit(model(), loss, score, tmp_path, dataclasses.replace(CONFIG, steps=300, score_every=100, ema=0.9))
    assert score(trained) > 0.3 * before
    assert not trained.training


def test_same_seed_same_weights(tmp_path):
    first, again = (weights(fit(model(), loss, score, tmp_path / n, CONFIG)) for n in "ab")
    assert equal(first, again)
    other = dataclasses.replace(CONFIG, seed=1)
    assert not equal(first, weights(fit(model(), loss, score, tmp_path / "c", other)))


@pytest.mark.parametrize("stop", [10, 20, 30])
def test_stopped_and_resumed_is_as_uninterrupted(tmp_path, stop):
    whole = weights(fit(model(), loss, score, tmp_path / "whole", CONFIG))
    with pytest.raises(Stopped):
        fit(model(), loss, score, tmp_path / "parts", CONFIG, stop_at(stop))
    resumed = fit(model(), loss, score, tmp_path / "parts", CONFIG)
    assert equal(weights(resumed), whole)


def test_killed_between_scores_is_as_uninterrupted(tmp_path):
    whole = weights(fit(model(), loss, score, tmp_path / "whole", CONFIG))
    calls = itertools.count()

    def killed(network, draw):
        if next(calls) == 17:
            raise Stopped
        return loss(network, draw)

    with pytest.raises(Stopped):
        fit(model(), killed, score, tmp_path / "parts", CONFIG)
    assert equal(weights(fit(model(), loss, score, tmp_path / "parts", CONFIG)), whole)


def test_a_finished_training_is_not_done_again(tmp_path):
    first = weights(fit(model(), loss, score, tmp_path, CONFIG))
    again = fit(model(), lambda *_: pytest.fail("trained again"), score, tmp_path, CONFIG)
    assert equal(weights(again), first)


def test_the_best_by_score_is_kept(tmp_path):
    seen = []

    def scored(network):
        seen.append(weights(network))
        return [0.1, 0.9, 0.2, 0.3][len(seen) - 1]

    assert equal(weights(fit(model(), loss, scored, tmp_path, CONFIG)), seen[1])


def test_later_weights_within_the_tolerance_are_preferred(tmp_path):
    seen = []

    def scored(network):
        seen.append(weights(network))
        return [0.1, 0.9, 0.85, 0.3][len(seen) - 1]

    config = dataclasses.replace(CONFIG, tolerance=0.1)
    assert equal(weights(fit(model(), loss, scored, tmp_path, config)), seen[2])


def test_the_log_has_a_row_for_every_score(tmp_path):
    progress = []
    fit(model(), loss, score, tmp_path, CONFIG, lambda done, total, row: progress.append((done, total)))
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(float(row["step"])) for row in rows] == [10, 20, 30, 40]
    assert list(rows[0]) == ["step", "loss", "score", "learning_rate", "samples_per_second", "seconds"]
    assert progress == [(10, 40), (20, 40), (30, 40), (40, 40)]


def test_diverging_is_noticed_and_the_last_good_state_kept(tmp_path):
    calls = itertools.count()

    def bad(network, draw):
        return loss(network, draw) * (float("nan") if next(calls) == 25 else 1)

    with pytest.raises(DatasetError, match="diverged at step 30"):
        fit(model(), bad, score, tmp_path, CONFIG)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 20
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_time_limit_holds_for_every_call(tmp_path, monkeypatch):
    clock = itertools.count(step=30)
    monkeypatch.setattr("kptalk.train.loop.time.monotonic", lambda: next(clock))
    config = dataclasses.replace(CONFIG, minutes=1.2)
    done = []
    for _ in range(6):
        fit(model(), loss, score, tmp_path, config, lambda step, total, row: done.append(step))
    assert done == [10, 20, 30, 40]
    whole = weights(fit(model(), loss, score, tmp_path / "whole", CONFIG))
    assert equal(weights(fit(model(), loss, score, tmp_path, CONFIG)), whole)


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(b"junk"), lambda p: p.write_bytes(p.read_bytes()[:900])])
def test_damaged_state_is_named(tmp_path, damage):
    fit(model(), loss, score, tmp_path, CONFIG)
    damage(tmp_path / "state.pt")
    with pytest.raises(WeightsError, match=r"cannot resume from .*state\.pt: .*; delete it to restart") as caught:
        fit(model(), loss, score, tmp_path, CONFIG)
    assert "\n" not in str(caught.value)


def test_state_of_another_network_is_named(tmp_path):
    fit(model(), loss, score, tmp_path, CONFIG)
    with pytest.raises(WeightsError, match="delete it"):
        fit(nn.Linear(4, 1), loss, score, tmp_path, CONFIG)


def test_accelerate_changes_no_bit(tmp_path):
    plain = weights(fit(model(), loss, score, tmp_path / "a", CONFIG))
    assert equal(weights(fit(model(), loss, score, tmp_path / "b", CONFIG, processes=open_processes("cpu"))), plain)


def test_a_batch_that_cannot_be_shared(tmp_path):
    with pytest.raises(OptionError, match="multiple of 3"):
        fit(model(), loss, score, tmp_path, dataclasses.replace(CONFIG, accumulate=3))


def test_a_gradient_that_is_no_number_stops_before_the_checkpoint(tmp_path):
    def bad(network, draw):
        value = loss(network, draw)
        if draw.step == 19:
            next(network.parameters()).register_hook(lambda gradient: gradient * float("nan"))
        return value

    with pytest.raises(DatasetError, match=r"diverged at step 20: the loss is nan; the checkpoint of step 10 stays"):
        fit(model(), bad, score, tmp_path, CONFIG)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 10


def test_rows_of_a_killed_run_are_not_logged_twice(tmp_path):
    with pytest.raises(Stopped):
        fit(model(), loss, score, tmp_path, CONFIG, stop_at(20))
    with (tmp_path / "log.csv").open("a") as file:
        file.write("30.0,1,1,1,1,1\n")  # logged, then killed before the checkpoint
    fit(model(), loss, score, tmp_path, CONFIG)
    with (tmp_path / "log.csv").open() as file:
        assert [int(float(row["step"])) for row in csv.DictReader(file)] == [10, 20, 30, 40]


def test_several_columns_of_a_score_are_logged(tmp_path):
    columns = {"score": 1.0, "lip_r": 0.5}
    progress = []
    fit(model(), loss, lambda network: columns, tmp_path, CONFIG, lambda done, total, row: progress.append(row))
    assert progress[0]["lip_r"] == 0.5
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_best_and_last_are_both_given(tmp_path):
    scores = iter([0.1, 0.9, 0.2, 0.3])
    trained = fit_both(model(), loss, lambda network: next(scores), tmp_path, CONFIG)
    assert not equal(weights(trained.best), weights(trained.last))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert equal(weights(trained.last), list(state["average"].values()))


def test_the_pace_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kptalk.train.loop.PACE_EVERY", 0.0)
    told = []
    fit(model(), loss, score, tmp_path, CONFIG, on_pace=lambda *values: told.append(values))
    assert [(done, total) for done, total, *_ in told] == [(step, 40) for step in range(1, 41)]
    assert told[0][2] > 0
    assert told[-1][3] == 0


def test_sequences_have_numbers_of_their_own():
    config = dataclasses.replace(CONFIG, batch=8, accumulate=2)
    found = [list(draw.numbers) for draw in draws(config, 3, Processes(torch.device("cpu")))]
    assert found == [[24, 25, 26, 27], [28, 29, 30, 31]]
