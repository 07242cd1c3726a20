"""Votes with known answers are counted right; what cannot be counted is named and does not count."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from studies import ballot, write_methods

from kptalk.errors import InputError
from kptalk.evaluate.study.build import QUESTIONS, build_study
from kptalk.evaluate.study.tally import tally

METHODS = ["ours", "theirs", "real"]
N_CLIPS = 4


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    folders = write_methods(root, METHODS, [f"{number}.mp4" for number in range(N_CLIPS)], seconds=0.2)
    return build_study(folders, root / "page").key


def save(folder, *ballots):
    paths = [folder / f"votes{number}.json" for number in range(len(ballots))]
    for path, content in zip(paths, ballots, strict=True):
        path.write_text(json.dumps(content))
    return paths


def percents(shares):
    return {share.method: share.percent for share in shares}


def test_one_participant(key, tmp_path):
    favourite = {"lip_sync": "ours", "head_diversity": "theirs", "naturalness": "real"}
    choice = lambda question, number: favourite[question] if number else "ours"  # noqa: E731
    result = tally(key, save(tmp_path, ballot(key, "p", choice)))
    assert (result.participants, result.clips, result.resampled, result.refused) == (1, N_CLIPS, "clips", ())
    assert list(result.shares) == list(QUESTIONS)
    assert percents(result.shares["lip_sync"]) == {"ours": 100, "theirs": 0, "real": 0}
    assert percents(result.shares["head_diversity"]) == {"ours": 25, "theirs": 75, "real": 0}
    ours, theirs, _ = result.shares["head_diversity"]
    assert (ours.votes, theirs.votes) == (1, 3)
    assert 0 <= ours.low < 25 < ours.high <= 100
    always = result.shares["lip_sync"][0]
    assert (always.low, always.high) == (100, 100)


def test_intervals_are_over_participants_where_there_are_some(key, tmp_path):
    # Everybody is split in the same way between clips: participants do not differ, so their interval has no width.
    alike = [ballot(key, str(p), lambda _, number: METHODS[number % 2]) for p in range(5)]
    result = tally(key, save(tmp_path, *alike))
    assert (result.participants, result.resampled) == (5, "participants")
    ours = result.shares["naturalness"][0]
    assert (ours.percent, ours.low, ours.high, ours.votes) == (50, 50, 50, 10)
    # Three fans of one and two of the other: the interval is wide.
    fans = [ballot(key, str(p), lambda _, number, p=p: METHODS[p % 2]) for p in range(5)]
    ours = tally(key, save(tmp_path, *fans)).shares["naturalness"][0]
    assert ours.percent == pytest.approx(60)
    assert ours.low <= 20
    assert ours.high == 100


def test_more_participants_narrow_the_interval(key, tmp_path):
    def width(count):
        votes = [ballot(key, str(p), lambda _, number, p=p: METHODS[(p + number) % 3 == 0]) for p in range(count)]
        share = tally(key, save(tmp_path, *votes)).shares["lip_sync"][0]
        return share.high - share.low

    assert 0 < width(48) < width(12) / 1.6


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(METHODS), min_size=N_CLIPS, max_size=N_CLIPS), min_size=1, max_size=6))
def test_shares_are_the_votes(key, tmp_path, choices):
    votes = [ballot(key, str(p), lambda _, number, mine=mine: mine[number]) for p, mine in enumerate(choices)]
    result = tally(key, save(tmp_path, *votes))
    everything = [method for mine in choices for method in mine]
    for shares in result.shares.values():
        assert sum(share.percent for share in shares) == pytest.approx(100)
        for share in shares:
            assert share.votes == everything.count(share.method)
            assert share.percent == pytest.approx(100 * share.votes / len(everything))
            assert share.low - 1e-9 <= share.percent <= share.high + 1e-9


def test_a_participant_counts_once_with_the_file_saved_last(key, tmp_path):
    early = ballot(key, "p", lambda *_: "ours", "2026-01-01T10:00:00.000Z")
    late = ballot(key, "p", lambda *_: "real", "2026-01-01T11:00:00.000Z")
    for order in ([early, late], [late, early], [late, early, late]):
        paths = save(tmp_path, *order)
        result = tally(key, paths)
        assert result.participants == 1
        assert percents(result.shares["lip_sync"])["real"] == 100
        assert len(result.refused) == len(paths) - 1
        assert all("same participant" in line for line in result.refused)
    assert tally(key, [paths[0], paths[0]]).shares["lip_sync"][2].votes == N_CLIPS


def change(votes, what):
    votes = copy.deepcopy(votes)
    what(votes)
    return votes


DAMAGES = {
    "another study": (lambda v: v.update(study="0"), "another study"),
    "another format": (lambda v: v.update(format="x"), "no file of votes"),
    "a vote missing": (lambda v: v["votes"].pop(), "missing"),
    "a vote twice": (lambda v: v["votes"].append(v["votes"][0]), "damaged"),
    "unknown clip": (lambda v: v["votes"][0].update(clip="x"), "damaged"),
    "a clip that is a list": (lambda v: v["votes"][0].update(clip=[]), "damaged"),
    "unknown question": (lambda v: v["votes"][0].update(question="x"), "damaged"),
    "unknown video": (lambda v: v["votes"][0].update(chosen="x"), "damaged"),
    "video of another clip": (lambda v: v["votes"][0].update(chosen=v["votes"][-1]["chosen"]), "damaged"),
    "order of other videos": (lambda v: v["votes"][0]["order"].pop(), "damaged"),
    "no votes": (lambda v: v.update(votes=None), "damaged"),
    "no participant": (lambda v: v.pop("participant"), "damaged"),
    "participant without name": (lambda v: v.update(participant=""), "missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_whole_is_named_and_does_not_count(key, tmp_path, name):
    damage, reason = DAMAGES[name]
    good = ballot(key, "good", lambda *_: "ours")
    paths = save(tmp_path, change(ballot(key, "bad", lambda *_: "theirs"), damage), good)
    result = tally(key, paths)
    assert result.participants == 1
    (line,) = result.refused
    assert line.startswith(str(paths[0]))
    assert reason in line
    assert percents(result.shares["lip_sync"]) == {"ours": 100, "theirs": 0, "real": 0}
    with pytest.raises(InputError, match=reason):
        tally(key, paths[:1])


@pytest.mark.parametrize("content", [b"", b'{"format": ', b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}'])
def test_rubbish_is_one_line(key, tmp_path, content):
    rubbish = tmp_path / "rubbish.json"
    rubbish.write_bytes(content)
    with pytest.raises(InputError) as caught:
        tally(key, [rubbish])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError) as caught:
        tally(rubbish, save(tmp_path, ballot(key, "p", lambda *_: "ours")))
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(key, tmp_path):
    (vote,) = save(tmp_path, ballot(key, "p", lambda *_: "ours"))
    assert len(tally(key, [vote, tmp_path / "absent.json", tmp_path]).refused) == 2
    for arguments in [(tmp_path / "absent.json", [vote]), (key, []), (vote, [vote]), (tmp_path, [vote])]:
        with pytest.raises(InputError):
            tally(*arguments)


def test_a_damaged_key_is_refused(key, tmp_path):
    (vote,) = save(tmp_path, ballot(key, "p", lambda *_: "ours"))
    data = json.loads(key.read_text())
    for damage in [
        lambda k: k.update(format="kptalk study key 9"),
        lambda k: k.update(clips=[]),
        lambda k: k.pop("methods"),
        lambda k: k["clips"][0]["videos"].popitem(),
        lambda k: k["clips"][0].update(videos=3),
    ]:
        broken = tmp_path / "broken.key.json"
        broken.write_text(json.dumps(change(data, damage)))
        with pytest.raises(InputError):
            tally(broken, [vote])
