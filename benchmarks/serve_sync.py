"""How well sound and picture of a stream agree in the browser: a flash and a click every second.

python benchmarks/serve_sync.py [--seconds 60]

The encoder of the server writes the video; the server streams it to the page, whose player plays it in headless
Chromium. A flash is timed by when its frame is to be displayed (requestVideoFrameCallback), a click by when its
sound system plays its sample (Web Audio). What screen and loudspeaker add is not in it. Positive: the click comes late.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np
from browsing import page
from common import portrait, recording
from serving import Running, submit

from kptalk import Speech
from kptalk.media.encoder import VideoWriter
from kptalk.media.stream import StreamSink

RATE, FPS, SIDE = 22_050, 25, 256
LISTEN = """
const video = document.getElementById('video'), context = new AudioContext();
const flashes = self.flashes = [], clicks = self.clicks = [];
const node = context.createScriptProcessor(256, 2, 1);
context.createMediaElementSource(video).connect(node);
node.connect(context.destination);
let quiet = 1000;
node.onaudioprocess = event => {
  const sound = event.inputBuffer.getChannelData(0);
  for (let i = 0; i < sound.length; i++, quiet++) if (Math.abs(sound[i]) > 0.3) {
    if (quiet > 5000) clicks.push(event.playbackTime + i / context.sampleRate);
    quiet = 0;
  }
};
const canvas = document.createElement('canvas'), pen = canvas.getContext('2d', {willReadFrequently: true});
canvas.width = canvas.height = 8;
const look = (now, frame) => {
  pen.drawImage(video, 0, 0, 8, 8);
  const at = context.currentTime + (frame.expectedDisplayTime - performance.now()) / 1000;
  if (pen.getImageData(0, 0, 1, 1).data[0] > 200) flashes.push(at);
  video.requestVideoFrameCallback(look);
};
video.requestVideoFrameCallback(look);
return context.resume();
"""


def frames(seconds: int) -> Iterator[np.ndarray]:
    """Grey, and white for one frame every second."""
    grey = np.full((1, SIDE, SIDE, 3), 40, np.uint8)
    for number in range(FPS * seconds):
        yield np.full_like(grey, 255) if number and number % FPS == 0 else grey


def write(path: Path, seconds: int) -> None:
    """The video as the server streams its own."""
    sound = np.zeros(RATE * seconds, np.float32)
    for second in range(1, seconds):
        sound[second * RATE : second * RATE + 110] = 0.9 * np.sign(np.sin(np.arange(110) / 3))
    speech = Speech.from_samples(sound, RATE)
    with path.open("wb") as file, VideoWriter(StreamSink(file, True), Fraction(FPS), (SIDE, SIDE), speech) as writer:
        for frame in frames(seconds):
            writer.write(frame)


def put(server: Running, folder: Path, seconds: int) -> None:
    """Let a finished job of the server have this video."""
    video = submit(
        server.client, portrait(folder).read_bytes(), recording(folder, 1).read_bytes(), framing="crop", size=64
    )
    while server.client.get(f"/v1/videos/{video}").json()["status"] != "completed":
        time.sleep(0.1)
    write(server.folder / "jobs" / video / "stream.mp4", seconds)
    with sqlite3.connect(server.folder / "jobs.sqlite", timeout=10) as database:
        database.execute("update job set seconds = ? where id = ?", (seconds, video))
    database.close()


def main() -> None:
    """Print how far clicks are from their flashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Running(folder / "served")
        try:
            put(server, folder, seconds)
            with page(server.address) as visitor:
                visitor.wait("return document.querySelector('#videos button')")
                visitor.script(LISTEN)
                visitor.script("document.querySelector('#videos button').click()")
                visitor.wait("return document.getElementById('video').ended", 3 * seconds + 60)
                flashes, clicks, stalls = visitor.script("return [flashes, clicks, kptalk.marks.pace.stalls]")
        finally:
            server.stop()
    offsets = []
    for flash in flashes:
        nearest = min(clicks, key=lambda click: abs(click - flash))
        if abs(nearest - flash) < 0.4:
            offsets.append(1000 * (nearest - flash))
    half = len(offsets) // 2
    print(f"{seconds} s: {len(flashes)} flashes, {len(clicks)} clicks, {len(offsets)} pairs, {stalls} stalls")
    print(f"click after flash: median {median(offsets):+.0f} ms, worst {max(offsets, key=abs):+.0f} ms")
    print(f"first half {median(offsets[:half]):+.0f} ms, second half {median(offsets[half:]):+.0f} ms")


if __name__ == "__main__":
    main()
