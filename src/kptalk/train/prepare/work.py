"""One video to clips: what a worker of ``kptalk prepare`` does, and the folder in which it leaves the result."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from kptalk.audio import mean_norm
from kptalk.device import pick_device
from kptalk.errors import DatasetError, InputError, OutputError
from kptalk.face.geometry import rotation_angles
from kptalk.files import make_folder, write_bytes
from kptalk.media.clip import probe, read_frames
from kptalk.methods import loaders_of
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.motion.generator import FPS
from kptalk.networks.sync import SEARCH
from kptalk.train.data import SHORTEST
from kptalk.train.dataset import SAMPLES, Quality, TrackedClip
from kptalk.train.lag import lag_curve, load_judge
from kptalk.train.prepare.options import PrepareOptions
from kptalk.train.prepare.sound import read_sound
from kptalk.train.prepare.sources import Source
from kptalk.train.prepare.tracks import Follower, Track
from kptalk.train.shards import ClipRecord, record_of
from kptalk.types import SAMPLE_RATE
from kptalk.weights.header import embedded_path
from kptalk.weights.model import ModelFolder, open_model

SILENT = 1e-3  # of full scale: sound that is never louder
FLEETING = 10  # frames of a track that is not worth a word, if there are others
DONE = "done.json"


@dataclass(frozen=True)
class Prepared:
    """What became of a source: rows of clips ``left_out``, with name, reason and thumbnail; how much was looked at."""

    clips: int
    frames: int
    left_out: list[dict[str, str]]


class Preparer:
    """A warm worker: it turns one source after the other into files of a folder."""

    def __init__(self, folder: Path, options: PrepareOptions) -> None:
        self._folder, self._options = folder, options
        self._judge = load_judge()
        self._space = FaceMeshSpace.load(embedded_path("facemesh"))
        model = model_of(options)
        self._reader = loaders_of(model).load_reader(model, pick_device("cpu")) if model else None

    def __call__(self, source: Source) -> Prepared:
        """Prepare a source, unless that is done; its clips and ``done.json`` are in ``staging_folder`` then.

        Raises:
            OutputError: they cannot be written.
        """
        folder = staging_folder(self._folder, source.name)
        if (folder / DONE).is_file():
            return read_prepared(folder)
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        clips, left_out, follower = 0, [], self._follower(source)
        try:
            for track, found in self._clips(source, follower):
                if isinstance(found, ClipRecord):
                    _write_record(folder / f"{clips}.safetensors", found)
                    clips += 1
                else:
                    name = f"{source.name}.{track.scene}.{track.number}"
                    left_out.append({"name": name, "reason": found, "thumbnail": track.thumbnail.hex()})
        except OutputError:  # which is not the source's fault
            raise
        except InputError as error:
            left_out.append({"name": source.name, "reason": str(error), "thumbnail": ""})
        prepared = Prepared(clips, follower.frames, left_out)
        write_bytes(folder / DONE, json.dumps(asdict(prepared)).encode())
        return prepared

    def _follower(self, source: Source) -> Follower:
        longest = round(self._options.longest * FPS)
        # The detectors' boxes reach from the brows to the chin and are narrower than the landmarks.
        return Follower(self._reader, longest, 0.6 * self._options.min_face, source.region)

    def _clips(self, source: Source, follower: Follower) -> Iterator[tuple[Track, ClipRecord | str]]:
        """Every track of a source, with the clip that it makes, or the reason why it makes none."""
        probe(source.video)
        sound = read_sound(source.video)
        if np.abs(sound).max(initial=0) < SILENT * 32767:
            raise DatasetError("the sound is silent")
        begin = round(source.start * FPS)
        images = read_frames(source.video, FPS, Fraction(begin) / FPS, source.end)
        short = None
        made = False
        for track in follower.follow(images):
            if len(track) < FLEETING:
                short = track
                continue
            made = True
            yield track, self._clip(source, track, begin + track.first, sound)
        if not made:
            raise DatasetError(self._why_none(follower, short))

    def _why_none(self, follower: Follower, short: Track | None) -> str:
        if follower.frames < SHORTEST:
            return f"only {follower.frames} frames at 25 fps, at least {SHORTEST} are needed"
        if follower.widest:
            return f"the face is {follower.widest:.0f} pixels wide, at least {self._options.min_face:.0f} are needed"
        seen = f"only {len(short)} of" if short else "none of"
        return f"face found in {seen} {follower.frames} frames"

    def _clip(self, source: Source, track: Track, first: int, sound: NDArray[np.int16]) -> ClipRecord | str:
        """The clip of a track that begins with a frame of the file, or the reason why it is left out."""
        options, count = self._options, len(track)
        if count < SHORTEST:
            return f"only {count} frames at 25 fps, at least {SHORTEST} are needed"
        landmarks = np.stack(track.landmarks)
        width = float(np.median(np.ptp(landmarks[..., 0], axis=1)))
        if width < options.min_face:
            return f"the face is {width:.0f} pixels wide, at least {options.min_face:.0f} are needed"
        yaw = float(np.median(np.abs(rotation_angles(self._space.pose(landmarks)[1])[:, 0])))
        if yaw > options.max_yaw:
            return f"the head is turned by {yaw:.0f} degrees, at most {options.max_yaw:.0f} are wanted"
        sharpness = float(np.median(track.sharpness))
        if sharpness < options.min_sharpness:
            return f"the face is blurred: sharpness {sharpness:.0f}, at least {options.min_sharpness:.0f} is wanted"

        def cut(lag: int) -> TrackedClip:
            begin = max(0, (first + lag) * SAMPLES)
            own = sound[begin : begin + count * SAMPLES].astype(np.float32) / 32767
            lead = np.zeros(max(0, -(first + lag)) * SAMPLES, np.float32)  # before the first sound there is none
            return TrackedClip(landmarks, np.concatenate([lead, own]), source.identity, source.video, first)

        clip = cut(0)
        if len(clip.sound) < 0.9 * count * SAMPLES:
            return f"{len(clip.sound) / SAMPLE_RATE:.1f} s of sound for {count / float(FPS):.1f} s of pictures"
        if np.abs(clip.sound).max() < SILENT:
            return "the sound is silent"
        lag, correlation = 0, float("nan")
        if (curve := lag_curve(clip, self._judge)) is not None:
            lag, correlation = int(curve.argmax()) - SEARCH, float(curve.max())
            if correlation < options.min_sync:
                return f"the lips do not follow the sound: correlation {correlation:.2f}, at least {options.min_sync:g}"
            if abs(lag) > options.max_lag:
                way = "late" if lag > 0 else "early"
                return f"the sound is {abs(lag)} frames {way}, at most {options.max_lag} are repaired"
            clip = cut(lag) if lag else clip
        quality = Quality(width, sharpness, yaw, speech_level(clip), float(lag), correlation)
        name = f"{source.name}.{track.scene}.{track.number}"
        return record_of(clip, name, quality, track.motion(), track.thumbnail)


def model_of(options: PrepareOptions) -> ModelFolder | None:
    """The model in whose space the motion is read, or None.

    Raises:
        WeightsError: it is not here.
    """
    return None if options.model == "none" else open_model(options.model)


def speech_level(clip: TrackedClip) -> float:
    """Level of the sound in dB of full scale, where there is speech."""
    weight = mean_norm.speech_weight(clip.mel()[0])
    power = np.square(clip.sound, dtype=np.float64)
    at = np.minimum((np.arange(len(power)) * len(weight)) // max(len(power), 1), len(weight) - 1)
    heard = weight[at]
    return float(10 * np.log10((heard @ power + 1e-12) / (heard.sum() + 1e-3) + 1e-12))


def staging_folder(folder: Path, name: str) -> Path:
    """Where a source's clips are until they are in a shard."""
    return folder / sha256(name.encode()).hexdigest()[:24]


def read_prepared(folder: Path) -> Prepared:
    """What ``done.json`` says."""
    return Prepared(**json.loads((folder / DONE).read_text()))


def _write_record(path: Path, record: ClipRecord) -> None:
    write_bytes(path, save(record.tensors, {"record": json.dumps({"row": record.row, "sums": record.sums})}))


def read_record(path: Path) -> ClipRecord:
    """A clip of a staging folder."""
    content = path.read_bytes()
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    record = json.loads(header["__metadata__"]["record"])
    return ClipRecord(record["row"], load(content), record["sums"])
