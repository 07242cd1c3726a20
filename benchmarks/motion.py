"""How well speech moves the face, on people that training never saw: every number that the motion is measured by.

    python benchmarks/motion.py [--model MODEL] [--clips DIR] [--data SHARDS] [--no-videos] [--no-tables]

Videos: each clip's first frame is the portrait, its own sound is spoken, FaceMesh reads the drawn pictures. Beside it
stand the real video, another clip's sound, a mouth that stays as in the photo, and (with ``--data``, the training
dataset) a ridge regression from the log-mel spectrogram to the mouth, which is measured as a mesh, without drawing.
Means over clips with 95 % bootstrap intervals.

Tables, on the motion alone: steps of the sampling, with their cost; drift of the head over five minutes and how far
two seeds are apart; languages.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import recording
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kptalk import Motion, Options, Pipeline, Portrait, Speech
from kptalk.audio.mel import SAMPLE_RATE, mel_spectrogram
from kptalk.audio.windows import mel_windows
from kptalk.evaluate.head_pose import head_rotation
from kptalk.evaluate.metric import AudioPair, FrameSample
from kptalk.evaluate.metrics.jitter import JitterMetric
from kptalk.evaluate.metrics.lips import LipMetric, best_lag, correlation
from kptalk.evaluate.statistics import bootstrap_mean
from kptalk.face.find import find_portrait
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import gaze, lid_opening, lip_opening
from kptalk.media.clip import read_frames
from kptalk.motion.control import Control
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.train.dataset import Dataset
from kptalk.train.facemesh import training_clip

DATA = Path(__file__).resolve().parents[2] / "shared/data"
SHORTEST = 75  # frames; shorter clips say little about a correlation
STEPS = (1, 2, 5, 10, 20, 50)
LEAD = 2  # frames by which lips move before the sound is loud
LANGUAGES = {
    "English": "en_jfk", "Chinese": "zh_news", "Japanese": "ja_japanese", "Korean": "ko_olkavs018",
    "French": "fr_fayu", "German": "de_deyu", "Russian": "ru_eluosi", "song": "sing_female", "rap": "rap_female",
}  # fmt: skip
PIXEL = np.zeros((1, 1, 3), np.uint8)  # the metrics used here look at meshes only
Meshes = NDArray[np.float32]


@dataclass(frozen=True)
class ValClip:
    """A clip as it is compared: portrait from its first frame, meshes (T, 478, 3) of the real video, its sound."""

    path: Path
    portrait: Portrait
    real: Meshes
    sound: NDArray[np.float32]


def track(frames: Iterable[NDArray[np.uint8]]) -> Meshes:
    """FaceMesh landmarks of every frame, (T, 478, 3), NaN where no face is found."""
    lost = np.full((478, 3), np.nan, np.float32)
    with FaceMesh(video=True) as mesh:
        found = [mesh(frame) for frame in frames]
    return np.stack([face.landmarks if face else lost for face in found])


def opened(folder: Path) -> list[ValClip]:
    clips = []
    for path in sorted(folder.glob("*.mp4")):
        frames = list(read_frames(path, FPS))
        if len(frames) >= SHORTEST:
            sound = np.concatenate(list(Speech.open(path).chunks()))
            clips.append(ValClip(path, find_portrait(frames[0]), track(frames), sound))
    return clips


def measured(pipeline: Pipeline, meshes: Meshes, clip: ValClip) -> dict[str, float]:
    """All numbers of one video against the real one."""
    lips, jitter = LipMetric(), JitterMetric(pipeline.method.generator.grid)
    for ours, real in zip(meshes, clip.real, strict=False):
        for metric in (lips, jitter):
            metric.update(_sample(ours), _sample(real))
    audio = AudioPair(clip.sound, clip.sound)
    seen = meshes[np.isfinite(meshes[:, 0, 0])]
    turned = head_rotation(seen).std(0)
    lids = lid_opening(seen).mean(-1)
    shut = np.flatnonzero(np.diff(np.concatenate([[0], lids < 0.6 * np.median(lids), [0]]).astype(int)))
    blinks = [(b - a) / 25 for a, b in zip(shut[::2], shut[1::2], strict=True)]
    return {
        **lips.compute(audio),
        **jitter.compute(audio),
        **dict(zip(("yaw", "pitch", "roll"), turned, strict=True)),
        "blinks": 60 * 25 * len(blinks) / len(seen),
        "blink_seconds": float(np.mean(blinks)) if blinks else np.nan,
        "gaze": float(gaze(seen).std(0).mean()),
    }


def _sample(mesh: Meshes) -> FrameSample:
    return FrameSample(PIXEL, mesh if np.isfinite(mesh).all() else None)


class Ridge:
    """Log-mel within six frames, each band's mean over the clip removed, to the mouth's tokens."""

    def __init__(self, space: FaceMeshSpace, dataset: Path, penalty: float = 1e-2) -> None:
        self.space = space
        inputs, outputs = [], []
        for tracked in Dataset.open(dataset):
            clip = training_clip(space, tracked)
            inputs.append(self.heard(clip.mel, len(clip.tokens)))
            outputs.append(space.mouth_tokens(clip.tokens[:, 7:]))
        x, y = np.concatenate(inputs), np.concatenate(outputs)
        gram = x.T @ x
        self.matrix = np.linalg.solve(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram)), x.T @ y)

    def heard(self, mel: NDArray[np.floating], count: int) -> NDArray[np.float64]:
        frames = mel_windows(np.asarray(mel), np.arange(count), FPS)[..., 6:10].mean(-1)
        bands = (frames - frames.mean(0)).reshape(count, 20, 4).mean(-1)
        padded = np.pad(bands, ((6, 6), (0, 0)), mode="edge")
        around = np.concatenate([padded[i : i + count] for i in range(13)], 1)
        return np.concatenate([around, np.ones((count, 1))], 1)

    def meshes(self, clip: ValClip) -> Meshes:
        """The portrait's mesh, its pose still, with the predicted mouth."""
        source = self.space.extract(clip.portrait)
        tokens = self.heard(mel_spectrogram(clip.sound).T, len(clip.real)) @ self.matrix
        tokens = np.concatenate([np.zeros((len(tokens), 7)), tokens], 1).astype(np.float32)
        return self.space.vertices(source, self.space.motion(tokens, source.motion))


def videos(pipeline: Pipeline, clips: list[ValClip], dataset: Path | None, seed: int) -> Table:
    """What FaceMesh sees: a row of means for every kind of video."""
    options = Options(seed=seed)
    ridge = Ridge(pipeline.method.space, dataset) if dataset else None
    rows: dict[str, list[dict[str, float]]] = {}
    for number, clip in enumerate(clips):
        foreign = clips[(number + len(clips) // 2) % len(clips)]
        kinds = {
            "generated": track(pipeline.stream(clip.portrait, Speech.open(clip.path), options=options)),
            "real video": clip.real,
            "other sound": track(pipeline.stream(clip.portrait, Speech.open(foreign.path), options=options)),
            "still mouth": clip.real[:1].repeat(len(clip.real), 0),
        }
        if ridge:
            kinds["ridge"] = ridge.meshes(clip)
        for kind, meshes in kinds.items():
            rows.setdefault(kind, []).append(measured(pipeline, meshes, clip))
    table = Table("mean over clips", *rows)
    for key in rows["generated"][0]:
        means = [bootstrap_mean([row[key] for row in kind]) for kind in rows.values()]
        table.add_row(key, *(f"{m.mean:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in means))
    close = [np.mean([abs(row["lip_lag"]) <= 1 for row in kind]) for kind in rows.values()]
    table.add_row("lag within 1 frame", *(f"{share:.0%}" for share in close))
    return table


def whole(pipeline: Pipeline, portrait: Portrait, speech: Speech, options: Options) -> Motion:
    return Motion.concatenate(list(pipeline.animate(portrait, speech, options=options).motion()))


def steps_table(pipeline: Pipeline, clips: list[ValClip]) -> Table:
    """By sampling steps: correlation and lag of the mesh's lip opening, and seconds of work per second of speech."""
    space = pipeline.method.space
    table = Table("steps", "lip r (mesh)", "lag within 1 frame", "time, share of real time")
    for steps in STEPS:
        values, lags, spent, spoken = [], [], 0.0, 0.0
        for clip in clips:
            source = space.extract(clip.portrait)
            animation = pipeline.animate(clip.portrait, Speech.open(clip.path), options=Options(steps=steps))
            begun = time.process_time()
            motion = Motion.concatenate(list(animation.motion()))
            spent += time.process_time() - begun
            spoken += len(clip.sound) / SAMPLE_RATE
            ours, real = lip_opening(space.vertices(source, motion)), lip_opening(clip.real)
            n = min(len(ours), len(real))
            values.append(correlation(ours[:n], real[:n]))
            lags.append(best_lag(ours[:n], real[:n]))
        share = np.mean(np.abs(lags) <= 1)
        table.add_row(str(steps), f"{np.mean(values):.3f}", f"{share:.0%}", f"{spent / spoken:.1%}")
    return table


def head_table(pipeline: Pipeline, portrait: Portrait, folder: Path) -> Table:
    """Mean and spread of the head in each of five minutes, and the distance to another seed's."""
    speech = Speech.open(recording(folder, 300))
    one, other = (whole(pipeline, portrait, speech, Options(seed=seed)).rotation for seed in (0, 1))
    table = Table("five minutes: degrees", "yaw", "pitch", "roll")
    for minute, (first, last) in enumerate(pairwise(range(0, 7501, 1500)), 1):
        part = one[first:last]
        cells = [f"{mean:+.1f} ± {std:.1f}" for mean, std in zip(part.mean(0), part.std(0), strict=True)]
        table.add_row(f"minute {minute}", *cells)
    table.add_row("mean distance of another seed", *(f"{x:.1f}" for x in np.abs(one - other).mean(0)))
    return table


def language_table(pipeline: Pipeline, portrait: Portrait, folder: Path) -> Table:
    """Activity of the lips against the sound: opening in face heights, loud and quiet, and correlation with level.

    Lips move before their sound: the level is taken two frames later. The photo's own mouth is not eased out of.
    """
    options = Options(control=Control(ease=False))
    table = Table("language", "opening, spread", "where loud", "where quiet", "closures a minute", "r with level")
    space = pipeline.method.space
    source = space.extract(portrait)
    for language, name in LANGUAGES.items():
        speech = Speech.open(folder / f"{name}.wav")
        meshes = space.vertices(source, whole(pipeline, portrait, speech, options))
        opening = lip_opening(meshes) / np.ptp(meshes[0, :, 1])
        sound = np.concatenate(list(speech.chunks()))
        n = min(len(opening), len(sound) // 640 - LEAD)
        heard = sound[LEAD * 640 : (n + LEAD) * 640].reshape(n, 640)
        level = np.log10(np.sqrt((heard**2).mean(1)) + 1e-4)
        loud = level > np.quantile(level, 0.7)
        quiet = level < np.quantile(level, 0.95) - 1.5
        opening = opening[:n]
        shut = opening < 0.2 * np.quantile(opening, 0.95)
        closures = (np.diff(shut.astype(int)) == 1).sum() * 1500 / n
        resting = f"{opening[quiet].mean():.4f}" if quiet.any() else "—"
        table.add_row(
            language, f"{opening.std():.4f}", f"{opening[loud].mean():.4f}", resting, f"{closures:.0f}",
            f"{correlation(opening, level):.2f}",
        )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--clips", type=Path, default=DATA / "clips/val")
    parser.add_argument("--data", type=Path, help="a dataset, for the ridge regression")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-videos", action="store_true")
    parser.add_argument("--no-tables", action="store_true")
    arguments = parser.parse_args()
    pipeline, console = Pipeline.from_pretrained(arguments.model), Console(width=180)
    clips = opened(arguments.clips)
    if not arguments.no_videos:
        console.print(videos(pipeline, clips, arguments.data, arguments.seed))
    if not arguments.no_tables:
        console.print(steps_table(pipeline, clips))
        with TemporaryDirectory() as folder:
            console.print(head_table(pipeline, clips[0].portrait, Path(folder)))
        console.print(language_table(pipeline, clips[0].portrait, DATA / "speech"))


if __name__ == "__main__":
    main()
