"""How late the mouth of a live face is behind the voice, measured in the picture.

python benchmarks/live_delay.py [--seconds 30] [--size 384] [--portrait PHOTO]

The demo's speech is Chromium's microphone; the page speaks live. Every frame that the browser presents is kept with
the time at which it is on the screen and its place in the video (the page plays a little faster while it catches up, so
these two do not run alike), and so is the level of the microphone. The level is compared with that of the file: when
each sound came. The lips' opening in the frames, in the order of the video, is compared with that of a video of the
same speech that was made from the file: which sound each frame shows. The delay of a frame is its time on the screen
less that of its sound at the microphone.
"""

from __future__ import annotations

import argparse
import base64
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from browsing import STATUS, page
from common import SPEECH, portrait, recording
from numpy.typing import NDArray
from serving import Running

from kptalk import Pipeline, Speech
from kptalk.face.landmarks import FaceMesh
from kptalk.face.measures import lip_gap

PAUSE = 1.0  # seconds of video before which little is said
GRID = 0.01  # seconds
SIDE = 256  # pixels in which the lips are measured
FURTHEST = 10.0  # seconds of shift that would be found
RECORD = """
const video = document.getElementById('video'), frames = self.frames = [], levels = self.levels = [];
const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
canvas.width = canvas.height = arguments[0];
const look = (now, frame) => {
  pen.drawImage(video, 0, 0, canvas.width, canvas.height);
  const picture = pen.getImageData(0, 0, canvas.width, canvas.height);
  frames.push([frame.expectedDisplayTime / 1000, frame.mediaTime, picture]);
  video.requestVideoFrameCallback(look);
};
video.requestVideoFrameCallback(look);
const context = new AudioContext(), node = context.createScriptProcessor(512, 1, 1);
context.createMediaStreamSource(kptalk.live.stream).connect(node);
node.connect(context.destination);
node.onaudioprocess = event => {
  const sound = event.inputBuffer.getChannelData(0), power = sound.reduce((sum, x) => sum + x * x, 0) / sound.length;
  levels.push([performance.now() / 1000 - sound.length / context.sampleRate / 2, power]);
};
"""
PICTURES = """
const [first, last] = arguments;
const parts = frames.slice(first, last).map(([_, __, picture]) => picture.data.filter((_, k) => k % 4 !== 3));
const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
let text = '';
for (let k = 0; k < whole.length; k += 30000) text += String.fromCharCode(...whole.subarray(k, k + 30000));
return btoa(text);
"""
Floats = NDArray[np.float64]


def openings(pictures: NDArray[np.uint8]) -> Floats:
    """Opening of the lips in each of (T, H, W, 3) pictures."""
    with FaceMesh() as mesh:
        found = [mesh(picture) for picture in pictures]
    gaps = np.array([np.nan if face is None else float(lip_gap(face.landmarks)) for face in found])
    known = np.isfinite(gaps)
    return np.interp(np.arange(len(gaps)), np.flatnonzero(known), gaps[known])


def on_grid(times: Floats, values: Floats) -> tuple[float, Floats]:
    """Values between two times, every ``GRID`` seconds, without their slow part; and the first time."""
    grid = np.arange(times[0], times[-1], GRID)
    evenly = np.interp(grid, times, values)
    width = round(2 / GRID)
    padded = np.pad(evenly, width // 2, "edge")
    return float(times[0]), evenly - np.convolve(padded, np.ones(width) / width, "same")[width // 2 :][: len(evenly)]


def shift(
    later: tuple[float, Floats], earlier: tuple[float, Floats], lowest: float, highest: float
) -> tuple[float, float]:
    """By how many seconds one track is later than another, and their correlation then."""
    best = (0.0, -1.0)
    for seconds in np.arange(lowest, highest, GRID):
        begin = round(
            (earlier[0] + seconds - later[0]) / GRID
        )  # where the earlier one's first value lies in the later one
        first, last = max(0, begin), min(len(later[1]), begin + len(earlier[1]))
        if last - first > 5 / GRID:
            correlation = float(np.corrcoef(later[1][first:last], earlier[1][first - begin : last - begin])[0, 1])
            best = max(best, (float(seconds), correlation), key=lambda each: each[1])
    return best


def main() -> None:
    """Print the delay and what the server computed meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--portrait", type=Path, help="a photo with closed lips tells most; otherwise the demo's")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo, speech = arguments.portrait or portrait(folder), recording(folder, arguments.seconds)
        server = Running(folder / "served")
        try:
            with page(server.address, f"--use-file-for-fake-audio-capture={speech}%noloop") as visitor:
                visitor.give(photo, source="live")
                visitor.script("document.getElementById('size').value = arguments[0]", str(arguments.size))
                visitor.make()
                visitor.wait("return kptalk.live?.micBegan")
                visitor.script(RECORD, SIDE)
                said = f"kptalk.live.sent > {arguments.seconds - 1}"
                visitor.wait(f"return kptalk.live.closed || {said}", 4 * arguments.seconds)
                if visitor.script("return kptalk.live.closed"):
                    time.sleep(0.5)
                    raise SystemExit(f"the live session ended: {visitor.script(STATUS)}")
                shown = visitor.script("return kptalk.live.delay")
                visitor.script("document.getElementById('stop').click()")
                shown_at, places = np.array(visitor.script("return frames.map(each => each.slice(0, 2))")).T
                levels = np.array(visitor.script("return levels"))
                parts = [visitor.script(PICTURES, k, min(k + 25, len(places))) for k in range(0, len(places), 25)]
        finally:
            server.stop()
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        pictures = np.frombuffer(b"".join(map(base64.b64decode, parts)), np.uint8).reshape(-1, SIDE, SIDE, 3)
        offline = Pipeline.from_pretrained().animate(photo, speech, framing="crop", size=SIDE)
        made = np.stack(list(offline))
        sound = np.concatenate(list(Speech.open(speech).chunks()))
    blocks = sound[: len(sound) // 160 * 160].reshape(-1, 160)
    file_level = on_grid(GRID * (np.arange(len(blocks)) + 0.5), np.log10(np.square(blocks).mean(1) + 1e-6))
    mic_level = on_grid(levels[:, 0], np.log10(levels[:, 1] + 1e-6))
    began = mic_level[0] - file_level[0]
    heard, sure = shift(mic_level, file_level, began - arguments.seconds, began + FURTHEST)
    inner = np.flatnonzero(np.diff(places, prepend=-1) > 0)  # a frame may be presented again
    lips, file_lips = (
        on_grid(places[inner], openings(pictures)[inner]),
        on_grid(np.arange(len(made)) / 25, openings(made)),
    )
    lead, alike = shift(lips, file_lips, -1, FURTHEST)
    print(f"microphone found in the file with correlation {sure:.2f}, the lips with {alike:.2f}; {len(places)} frames")
    if min(sure, alike) < 0.7:
        raise SystemExit("that is too little to tell: the machine was too busy to show the video in time")
    repeats = sum(map(len, Speech.open(SPEECH).chunks())) / 16_000  # seconds; each shift may be off by one, or some
    delays = (shown_at - heard - (places - lead)) % repeats
    halves = [float(np.median(each)) for each in np.array_split(delays[places > PAUSE], 2)]
    print(
        f"mouth behind sound, measured in the picture: {halves[0]:.2f} s in the first half and {halves[1]:.2f} s in "
        f"the second, at most {delays[places > PAUSE].max():.2f} s (the page shows {shown:.2f} s)"
    )
    print(f"processor time of the server and its processes: {spent.ru_utime + spent.ru_stime:.0f} s, start included")


if __name__ == "__main__":
    main()
