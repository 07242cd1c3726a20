"""Plays the video while it is made: raw frames go to stdout as soon as they are drawn.

python examples/stream.py face.jpg speech.m4a | ffplay -f rawvideo -pixel_format rgb24 -video_size 256x256 -
"""

import sys
from typing import BinaryIO

from kptalk import Pipeline


def stream(pipeline: Pipeline, portrait: str, speech: str, sink: BinaryIO) -> int:
    """Write every frame, (256, 256, 3) uint8 RGB; returns how many."""
    count = 0
    for frame in pipeline.stream(portrait, speech, framing="crop", size=256):
        sink.write(frame.tobytes())
        sink.flush()
        count += 1
    return count


if __name__ == "__main__":
    print(stream(Pipeline.from_pretrained(), *sys.argv[1:3], sys.stdout.buffer), "frames", file=sys.stderr)
