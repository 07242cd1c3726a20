"""A contact sheet to look at: portraits in rows, the photo first, then frames of the talking video.

python benchmarks/sheet.py OUT.png SPEECH PORTRAIT... [--first N --every N --columns N --zoom mouth|face]
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kptalk import Pipeline
from kptalk.face.landmarks import FaceMesh


def part(frame: np.ndarray, zoom: str | None, box: tuple[float, float, float, float], side: int) -> np.ndarray:
    """The frame, its face or its mouth, as a square of ``side`` pixels."""
    height, width = frame.shape[:2]
    if zoom is None:
        half, cx, cy = min(height, width) / 2, width / 2, height / 2
    else:
        x0, y0, x1, y1 = box
        half = (y1 - y0) * (0.62 if zoom == "face" else 0.28)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2 if zoom == "face" else y0 + 0.76 * (y1 - y0)
    x, y = int(np.clip(cx - half, 0, width - 2 * half)), int(np.clip(cy - half, 0, height - 2 * half))
    cut = frame[y : y + int(2 * half), x : x + int(2 * half)]
    return cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA if len(cut) > side else cv2.INTER_CUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("portraits", type=Path, nargs="+")
    parser.add_argument("--first", type=int, default=20)
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--side", type=int, default=200)
    parser.add_argument("--zoom", choices=["mouth", "face"])
    parser.add_argument("--model", default="embedded")
    arguments = parser.parse_args()
    pipeline = Pipeline.from_pretrained(arguments.model)
    rows = []
    for path in arguments.portraits:
        last = arguments.first + arguments.every * (arguments.columns - 1)
        frames = list(islice(pipeline.animate(path, arguments.speech, framing="crop"), last + 1))
        photo = frames[0]  # a video begins with the photo's own face
        shown = [photo, *frames[arguments.first :: arguments.every]]
        with FaceMesh() as mesh:
            found = mesh(photo)
        box = found.box if found else (0.0, 0.0, float(photo.shape[1]), float(photo.shape[0]))
        rows.append(np.concatenate([part(frame, arguments.zoom, box, arguments.side) for frame in shown], 1))
    widest = max(row.shape[1] for row in rows)
    Image.fromarray(np.concatenate([np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows])).save(
        arguments.sheet
    )


if __name__ == "__main__":
    main()
