"""Arguments and flags that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Portrait = Annotated[Path, typer.Argument(metavar="PORTRAIT", help="The photo: any image file.")]
Video = Annotated[Path, typer.Option("--output-file", "-o", help="The video to write, an .mp4 file.")]
Weights = Annotated[str, typer.Option(help="'embedded', 'official', or a folder that 'kptalk train' filled.")]
Renderer = Annotated[str | None, typer.Option(help="'mesh' or 'liveportrait'; the weights know which.")]
Size = Annotated[int | None, typer.Option(help="Longest side in pixels: photo's own up to 1280; crop 512.")]
Show = Annotated[str, typer.Option("--output", help="'full': the whole photo; 'crop': the square round the face.")]
Stitch = Annotated[
    bool | None, typer.Option("--stitch/--no-stitch", help="liveportrait: keep shoulders in place; yes where full.")
]
FaceNumber = Annotated[int | None, typer.Option(help="Which of several faces, 1 is the leftmost.")]
Region = Annotated[str, typer.Option(help="What moves: 'all', 'pose', 'expression', 'lips' or 'eyes'.")]
SaveMotion = Annotated[Path | None, typer.Option(help="Also write the motion, a .safetensors file.")]
Device = Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'mps'.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")]
