"""Hours of speech to one video: memory beside that of a minute, and sound against pictures at the end.

    python benchmarks/hours.py [--hours 3] [--size 128] [--folder FOLDER]

The recording is the demo's speech and a pause, 10 s in all, again and again, as FLAC of 48 kHz. A minute of it and all
of it are made by ``kptalk animate`` in processes of their own, whose peak memory is compared. Of the long video: how
long both streams are; by how much its sound has moved against the recording in its last minute (by correlation, to the
sample); and by how much its lips lag behind the sound in its first and in its last minute (head still, no blinks, so
that what moves is the mouth). Ends with 1 where memory is more than 5 % higher or something has drifted by 20 ms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from common import SPEECH, portrait

from kptalk import Speech

RATE, PERIOD, LAST = 48_000, 10, 60  # samples a second; seconds that are repeated, and looked at
MOST_MEMORY, MOST_DRIFT = 1.05, 0.02  # times a minute's; seconds
Array = np.ndarray


def period() -> Array:
    """The speech and a pause, (480000,) float32."""
    speech = Speech.open(SPEECH)
    own = np.concatenate([block[0] for block in speech.sound(4096)])
    own = np.interp(np.arange(0, len(own), speech.rate / RATE), np.arange(len(own)), own)
    return np.pad(own, (0, PERIOD * RATE - len(own))).astype(np.float32)


def record(path: Path, seconds: int) -> Path:
    """The period, again and again."""
    one = (period() * 32767).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        for number in range(0, seconds, PERIOD):
            frame = av.AudioFrame.from_ndarray(one[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, number * RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def animate(photo: Path, speech: Path, video: Path, size: int, log: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB; ``log`` gets the memory every ten seconds."""
    options = ["--size", str(size), "--framing", "crop", "--pose", "still", "--blinks", "off"]
    command = [sys.executable, "-m", "kptalk", "animate", photo, speech, "-o", video, "--overwrite", *options]
    began = time.monotonic()
    child = os.spawnv(os.P_NOWAIT, sys.executable, list(map(str, command)))
    threading.Thread(target=_weigh, args=(child, log, began), daemon=True).start()
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"kptalk ended with status {status}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def _weigh(child: int, log: Path, began: float) -> None:
    with log.open("w") as file:
        while True:
            try:
                pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
            except OSError:
                return
            file.write(f"{time.monotonic() - began:.0f},{pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f}\n")
            file.flush()
            time.sleep(10)


def ends(video: Path) -> dict[str, float]:
    """When the last picture and the last sound of a video end, in seconds."""
    with av.open(str(video)) as container:
        found = {}
        for stream in container.streams:
            last = max((stream.start_time or 0) + stream.duration, 0) * stream.time_base
            found[stream.type] = float(last)
        return found


def sound(path: Path, start: float, seconds: float) -> Array:
    """The sound of a file from a time on, by its packets' times."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    for frame in _frames(path, "audio", start, seconds):
        at = round((frame.pts * frame.time_base - Fraction(start)) * RATE)
        mono = frame.to_ndarray().astype(np.float32).mean(0) / (32768 if frame.format.name.startswith("s16") else 1)
        first, last = max(0, -at), min(len(mono), len(samples) - at)
        if first < last:
            samples[at + first : at + last] = mono[first:last]
    return samples


def mouth(path: Path, start: float, seconds: float) -> tuple[Array, Array]:
    """When each picture is shown, and by how much it differs from what is shown most of the time."""
    times, pictures = [], []
    for frame in _frames(path, "video", start, seconds):
        times.append(float(frame.pts * frame.time_base) - start)
        pictures.append(frame.to_ndarray(format="gray").astype(np.float32))
    stack = np.stack(pictures)
    return np.array(times), np.abs(stack - np.median(stack, 0)).mean((1, 2))


def _frames(path: Path, kind: str, start: float, seconds: float) -> Iterator[av.VideoFrame | av.AudioFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        container.seek(int(max(0, start - 5) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            at = float(frame.pts * frame.time_base)
            if at >= start + seconds:
                return
            if at >= start - 0.1:
                yield frame


def moved(found: Array, expected: Array, most: float = 0.5) -> float:
    """Seconds by which a sound comes later than another."""
    size = 1 << (len(found) + len(expected)).bit_length()
    product = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(expected, size).conj(), size)
    lags = round(most * RATE)
    near = np.concatenate([product[-lags:], product[: lags + 1]])
    return (int(near.argmax()) - lags) / RATE


def lag(path: Path, start: float) -> float:
    """Seconds by which the mouth comes later than the sound, in a minute of a video."""
    times, opening = mouth(path, start, LAST)
    loud = np.convolve(np.abs(sound(path, start, LAST)), np.ones(RATE // 25) / (RATE // 25), "same")
    seconds, wanted = np.arange(len(loud)) / RATE, opening - opening.mean()
    shifts = np.arange(-0.4, 0.4001, 0.005)
    scores = [np.corrcoef(np.interp(times + 0.02 - shift, seconds, loud), wanted)[0, 1] for shift in shifts]
    best = int(np.argmax(scores))
    print(f"  lips at {start:.0f} s: correlation {scores[best]:.2f} at {1000 * shifts[best]:+.0f} ms")
    return float(shifts[best])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where the files stay; without it they are removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.folder or Path(name)
        folder.mkdir(exist_ok=True)
        photo, long = portrait(folder), PERIOD * round(3600 * given.hours / PERIOD)
        memory = {}
        for what, seconds in (("minute", 60), ("hours", long)):
            speech, video = record(folder / f"{what}.flac", seconds), folder / f"{what}.mp4"
            spent, memory[what] = animate(photo, speech, video, given.size, folder / f"{what}.csv")
            print(f"{seconds} s of speech: peak {memory[what]:.0f} MB, {spent:.0f} s", flush=True)
        found = ends(video)
        print(f"pictures end at {found['video']:.3f} s, the sound at {found['audio']:.3f} s, the recording at {long} s")
        shift = moved(sound(video, long - LAST, LAST), np.tile(period(), LAST // PERIOD))
        print(f"the sound of the last minute comes {1000 * shift:+.2f} ms late")
        drift = lag(video, long - LAST) - lag(video, 0)
        print(f"the lips drift by {1000 * drift:+.0f} ms")
    apart = max(abs(end - long) for end in found.values())
    good = memory["hours"] <= MOST_MEMORY * memory["minute"] and max(apart, abs(shift), abs(drift)) < MOST_DRIFT
    print(f"memory {memory['hours'] / memory['minute']:.3f} times that of a minute: {'good' if good else 'BAD'}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
