"""Speak into the microphone: the photo says it while you do. Frames are yours to show; here they become a file.

arecord -t raw -f S16_LE -r 16000 -c 1 | python examples/live.py face.jpg live.mp4
"""

import sys
from collections.abc import Iterator

import numpy as np

import kptalk

CHUNK = 2 * 320  # bytes: 20 ms of 16-bit sound at 16 kHz


def microphone() -> Iterator[np.ndarray]:
    """Sound as it comes, until there is no more."""
    while data := sys.stdin.buffer.read(CHUNK):
        yield np.frombuffer(data[: len(data) // 2 * 2], np.int16)


def main() -> None:
    """Write the video while it is spoken."""
    portrait, output = sys.argv[1:]
    pipeline = kptalk.Pipeline.from_pretrained()
    pipeline.warm_up()
    live = pipeline.live(portrait, framing="crop", size=384)
    print(f"speak: the picture is {live.delay:.2f} s behind, and what the machine needs")
    with open(output, "wb") as file:
        live.save(microphone(), file)


if __name__ == "__main__":
    main()
