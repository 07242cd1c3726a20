"""Studies made for the tests: tiny videos of several methods, and votes as the page saves them."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from recordings import tone

from kptalk.media.audio import Speech
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink


def write_video(path: Path, level: int, seconds: float = 0.4, sound: bool = True) -> Path:
    speech = Speech.from_samples(tone(16_000, seconds).T, 16_000) if sound else None
    with VideoWriter(FileSink(path), Fraction(25), (64, 64), speech) as writer:
        writer.write(np.full((round(25 * seconds), 64, 64, 3), level, np.uint8))
    return path


def write_methods(root: Path, methods: list[str], clips: list[str], seconds: float = 0.4) -> list[Path]:
    """A folder of videos for every method; no two videos are the same."""
    folders = [root / method for method in methods]
    for index, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for number, clip in enumerate(clips):
            write_video(folder / clip, 20 + 50 * index + 10 * number, seconds)
    return folders


def video_of(key: Path, clip: str, method: str) -> str:
    """Code of a method's video of a clip, by the clip's code."""
    (entry,) = (entry for entry in json.loads(key.read_text())["clips"] if entry["code"] == clip)
    (code,) = (code for code, video in entry["videos"].items() if video["method"] == method)
    return code


def ballot(key: Path, participant: str, choose, saved: str = "2026-01-01T10:00:00.000Z") -> dict:
    """What the page saves for one who chooses the method ``choose(question, number of the clip)``."""
    data = json.loads(key.read_text())
    votes = [
        {
            "clip": clip["code"],
            "question": question,
            "order": sorted(clip["videos"]),
            "chosen": video_of(key, clip["code"], choose(question, number)),
            "time": saved,
        }
        for number, clip in enumerate(data["clips"])
        for question in data["questions"]
    ]
    fields = {"study": data["study"], "participant": participant, "saved": saved, "votes": votes}
    return {"format": "kptalk study votes 1", **fields}
