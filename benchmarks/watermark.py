"""The watermark: what it survives, how often it is seen where there is none, what it costs.

    python benchmarks/watermark.py MARKED_FROM [--real FOLDER] [--seconds 2] [--size 512] [--clips 200]

MARKED_FROM are videos without a watermark, files or folders: generated ones by ``--generate PORTRAITS SPEECH``, which
makes as many as are asked for of a folder of photos and one of recordings. Each is marked, encoded as kptalk does,
attacked, and looked at; the same videos without a mark, and those of ``--real``, are looked at for false alarms. One
line an attack: how many are found, how many payloads are read right; then PSNR (RGB, of the mark alone), CPU time a
frame of the mark and of reading, and bytes added.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np

from kptalk.media.clip import read_frames
from kptalk.media.encoder import VideoWriter
from kptalk.media.sink import FileSink
from kptalk.media.watermark import Marker
from kptalk.media.watermark_code import Payload
from kptalk.media.watermark_reader import read_watermark

Frames = list[Any]


def encode(frames: Frames, path: Path, crf: int = 23, fps: int = 25, preset: str = "medium") -> Path:
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": preset})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for each in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(each[:height, :width]), "rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def resized(frames: Frames, width: int, height: int) -> Frames:
    smaller = width < frames[0].shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return [cv2.resize(each, (width, height), interpolation=how) for each in frames]


def half_and_back(frames: Frames, path: Path) -> Path:
    height, width = frames[0].shape[:2]
    return encode(resized(resized(frames, width // 2, height // 2), width, height), path)


def cropped(frames: Frames, path: Path) -> Path:
    height, width = frames[0].shape[:2]
    top, left = round(0.07 * height), round(0.03 * width)
    return encode([each[top : top + round(0.9 * height), left : left + round(0.9 * width)] for each in frames], path)


def cropped_and_grown(frames: Frames, path: Path) -> Path:
    height, width = frames[0].shape[:2]
    cut = [
        each[round(0.05 * height) : -round(0.05 * height), round(0.05 * width) : -round(0.05 * width)]
        for each in frames
    ]
    return encode(resized(cut, width, height), path)


def recorded(frames: Frames, path: Path) -> Path:
    """A screen recording: shown, filmed as it is shown, sent on."""
    first = encode(frames, path.with_suffix(".first.mp4"), 26, preset="veryfast")
    return encode(list(read_frames(first)), path, 28, preset="veryfast")


def brighter(factor: float) -> Callable[[Frames, Path], Path]:
    return lambda frames, path: encode([np.clip(each * factor, 0, 255).astype(np.uint8) for each in frames], path)


ATTACKS: dict[str, Callable[[Frames, Path], Path]] = {
    "H.264 crf 28": lambda frames, path: encode(frames, path, 28),
    "50 % and back": half_and_back,
    "10 % cropped": cropped,
    "15 fps": lambda frames, path: encode([frames[k * 25 // 15] for k in range(len(frames) * 15 // 25)], path, fps=15),
    "brighter by 20 %": brighter(1.2),
    "darker by 20 %": brighter(0.8),
    "encoded twice": recorded,
    "at 50 %": lambda frames, path: encode(resized(frames, frames[0].shape[1] // 2, frames[0].shape[0] // 2), path),
    "cropped and grown": cropped_and_grown,
}
ASKED = tuple(ATTACKS)[:7]


def generate(portraits: Path, speech: Path, folder: Path, count: int, size: int, seconds: float) -> None:
    """Short videos of all pairs, in turn, until there are enough."""
    from kptalk.errors import KptalkError
    from kptalk.media.audio import Speech
    from kptalk.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained()
    photos, recordings = (sorted(each for each in one.iterdir() if each.is_file()) for one in (portraits, speech))
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for k in range(4 * count):
        if made == count:
            break
        photo, recording = photos[k % len(photos)], recordings[(k // len(photos) + k) % len(recordings)]
        try:
            samples = np.concatenate([*Speech.open(recording).chunks()])
            start = 16_000 * (k // len(photos)) * 2 % max(1, len(samples) - int(16_000 * seconds))
            part = samples[start : start + int(16_000 * seconds)]
            if len(part) < 16_000 * seconds:
                continue
            animation = pipeline.animate(photo, (part, 16_000), seed=k, size=size, watermark=False)
            animation.save(folder / f"{k:04}.mp4", overwrite=True)
            made += 1
        except KptalkError as error:
            print(f"{photo.name}, {recording.name}: {error}")


def videos(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.glob("*.mp4")) if path.is_dir() else [path]


def cpu() -> float:
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def write(path: Path, frames: Frames, payload: Payload | None) -> None:
    height, width = frames[0].shape[:2]
    with VideoWriter(FileSink(path, overwrite=True), Fraction(25), (width, height), watermark=payload) as writer:
        for each in frames:
            writer.write(each[None])


def cost(frames: Frames, payload: Payload) -> tuple[float, float]:
    """Milliseconds of CPU a frame, median of pairs, and PSNR of the mark in RGB."""
    height, width = (side // 2 * 2 for side in frames[0].shape[:2])
    planes = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(each[:height, :width]), "rgb24").reformat(format="yuv420p")
        for each in frames
    ]
    lumas = [np.ascontiguousarray(np.frombuffer(f.planes[0], np.uint8).reshape(height, -1)[:, :width]) for f in planes]
    mark, times, errors = Marker(payload, (width, height)), [], []
    for plain in lumas:
        marked = plain.copy()
        before = cpu()
        mark(marked)
        times.append(cpu() - before)
        # 255 of RGB are 219 of the luma.
        errors.append(np.mean(((marked.astype(np.float64) - plain) * 255 / 219) ** 2))
    return 1e3 * float(np.mean(times)), float(10 * np.log10(255**2 / max(1e-9, np.mean(errors))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--generate", nargs=2, type=Path, metavar=("PORTRAITS", "SPEECH"))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/kptalk-watermark"), help="of what is generated")
    parser.add_argument("--real", nargs="*", type=Path, default=[])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--attacks", nargs="*", default=list(ATTACKS))
    given = parser.parse_args()
    if given.generate:
        generate(*given.generate, given.folder, given.clips, given.size, given.seconds)
        given.videos.append(given.folder)
    cv2.setNumThreads(1)
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    costs, alarms, bytes_added, reading = [], [], [], []
    plain_videos = list(islice(videos(given.videos), given.clips))
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, video in enumerate(plain_videos):
            frames = list(islice(read_frames(video, Fraction(25)), round(25 * given.seconds)))
            payload = Payload.of(video.name)
            write(folder / "plain.mp4", frames, None)
            write(folder / "marked.mp4", frames, payload)
            costs.append(cost(frames, payload))
            bytes_added.append((folder / "marked.mp4").stat().st_size / (folder / "plain.mp4").stat().st_size - 1)
            marked = list(read_frames(folder / "marked.mp4"))
            for name in ("as saved", *given.attacks):
                path = folder / "marked.mp4" if name == "as saved" else ATTACKS[name](marked, folder / "attacked.mp4")
                before = cpu()
                seen = read_watermark(path)
                reading.append(cpu() - before)
                found[name].append((seen is not None, seen is not None and seen.payload == payload))
                if seen is None or seen.payload != payload:
                    print(f"  {video.name}, {name}: {seen}", flush=True)
            alarms.append(("generated", video.name, read_watermark(folder / "plain.mp4")))
            print(f"{number + 1} of {len(plain_videos)}", end="\r", flush=True)
        for video in islice(videos(given.real), given.clips):
            alarms.append(("real", video.name, read_watermark(video)))
    for name, results in found.items():
        count = len(results)
        print(f"{name:20} found {sum(a for a, _ in results):4} of {count}   read right {sum(b for _, b in results):4}")
    for kind in ("generated", "real"):
        seen_of = [(name, seen) for what, name, seen in alarms if what == kind]
        print(f"false alarms, {kind}: {sum(seen is not None for _, seen in seen_of)} of {len(seen_of)}")
        print(*(f"  {name}: {seen}\n" for name, seen in seen_of if seen is not None), sep="", end="")
    if costs:
        times, psnr = np.array(costs).T
        summary = {
            "ms of CPU a frame": [round(float(x), 2) for x in (np.median(times), times.max())],
            "PSNR of the mark, dB, median and least": [round(float(x), 1) for x in (np.median(psnr), psnr.min())],
            "bytes added, median and most": [f"{100 * x:.0f} %" for x in (np.median(bytes_added), max(bytes_added))],
            "seconds of CPU to read, median and most": [round(float(x), 2) for x in (np.median(reading), max(reading))],
        }
        print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.0f} s")
