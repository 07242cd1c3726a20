"""Votes of a study → percentages for each question and method, with intervals."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from kptalk.errors import InputError
from kptalk.evaluate.statistics import bootstrap_mean
from kptalk.evaluate.study.build import KEY_FORMAT
from kptalk.files import explain

VOTES_FORMAT = "kptalk study votes 1"


class Share(NamedTuple):
    """How often one method was chosen for one question: ``votes`` of all, in percent, with the 95 % interval."""

    method: str
    votes: int
    percent: float
    low: float
    high: float


class Tally(NamedTuple):
    """The counted votes of a study."""

    title: str
    participants: int  # whose votes were counted
    clips: int  # on each of which every participant answered every question
    resampled: Literal["participants", "clips"]  # by the bootstrap of the intervals; clips: those of a single one
    shares: Mapping[str, tuple[Share, ...]]  # one share a method, by question
    refused: tuple[str, ...]  # one line for every file that was not counted, and why


class _Key(NamedTuple):
    study: str
    title: str
    questions: tuple[str, ...]
    methods: tuple[str, ...]
    owners: Mapping[str, Mapping[str, str]]  # clip → video → method


class _Ballot(NamedTuple):
    file: Path
    participant: str
    saved: str
    chosen: Mapping[tuple[str, str], str]  # (question, clip) → method


def tally(key: Path, votes: Sequence[Path]) -> Tally:
    """Count what participants chose.

    Of several files of one participant the one saved last counts. Files that are damaged or of another study do not
    count; they are named in ``refused``.

    Args:
        key: the file that ``build_study`` put beside the page.
        votes: the files that participants saved.

    Raises:
        InputError: the key cannot be used, or none of the votes can.
    """
    answers = _read_key(key)
    refused: list[str] = []
    readable: list[_Ballot] = []
    for file in votes:
        try:
            readable.append(_read_votes(file, answers))
        except InputError as error:
            refused.append(str(error))
    ballots: dict[str, _Ballot] = {}
    for ballot in sorted(readable, key=lambda ballot: ballot.saved):
        if older := ballots.get(ballot.participant):
            refused.append(f"{older.file}: not counted, {ballot.file} is of the same participant and counts")
        ballots[ballot.participant] = ballot
    if not ballots:
        raise InputError(f"no votes to count: {'; '.join(refused) or 'give the files that participants saved'}")
    counted = list(ballots.values())
    shares = {question: _shares(question, answers, counted) for question in answers.questions}
    resampled: Literal["participants", "clips"] = "participants" if len(counted) > 1 else "clips"
    return Tally(answers.title, len(counted), len(answers.owners), resampled, shares, tuple(refused))


def _shares(question: str, key: _Key, ballots: Sequence[_Ballot]) -> tuple[Share, ...]:
    result = []
    for method in key.methods:
        chosen = np.array([[ballot.chosen[question, clip] == method for clip in key.owners] for ballot in ballots])
        # (participants, clips). A participant's votes hang together, so participants are drawn where there are some.
        mean = bootstrap_mean(chosen.mean(1) if len(ballots) > 1 else chosen[0])
        result.append(Share(method, int(chosen.sum()), 100 * mean.mean, 100 * mean.low, 100 * mean.high))
    return tuple(result)


def _read_key(path: Path) -> _Key:
    data = _read_json(path)
    try:
        if data["format"] != KEY_FORMAT:
            raise InputError(f"{path} is {data['format']}, which this version of kptalk does not read")
        owners = {
            str(clip["code"]): {code: str(video["method"]) for code, video in clip["videos"].items()}
            for clip in data["clips"]
        }
        questions, methods = tuple(map(str, data["questions"])), tuple(map(str, data["methods"]))
        key = _Key(str(data["study"]), str(data["title"]), questions, methods, owners)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not the key of a study: give the .key.json file beside the page") from error
    if not owners or not questions or any(sorted(clip.values()) != sorted(methods) for clip in owners.values()):
        raise InputError(f"{path} is damaged: its clips do not each show every method once")
    return key


def _read_votes(path: Path, key: _Key) -> _Ballot:
    data = _read_json(path)
    if data.get("format") != VOTES_FORMAT:
        raise InputError(f"{path}: not counted, it is no file of votes that this version of kptalk reads")
    if data.get("study") != key.study:
        raise InputError(f"{path}: not counted, its votes are of another study")
    chosen: dict[tuple[str, str], str] = {}
    try:
        participant, saved = data["participant"], data["saved"]
        for vote in data["votes"]:
            owners = key.owners[vote["clip"]]
            place = (vote["question"], vote["clip"])
            if place in chosen or place[0] not in key.questions or sorted(vote["order"]) != sorted(owners):
                raise ValueError
            chosen[place] = owners[vote["chosen"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not counted, it is damaged: ask for the file again") from error
    if len(chosen) < len(key.questions) * len(key.owners) or not (isinstance(participant, str) and participant):
        raise InputError(f"{path}: not counted, votes are missing in it: ask for the file again")
    return _Ballot(path, participant, str(saved), chosen)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {explain(error)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON, so neither a key nor votes; it may be cut short") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: neither a key nor votes of a study")
    return data
