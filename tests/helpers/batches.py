"""Batches whose models are stand-ins, worked on in this process."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fakes import facemesh_space, fake_pipeline, plain_portrait
from PIL import Image
from recordings import tone, write_sound
from skimage.data import astronaut

from kptalk.batch import run_batch
from kptalk.engine import Outcome
from kptalk.errors import FaceNotFound, KptalkError, WorkerDied


def no_models(patch, lost=()):
    """Batches are made here, with stand-ins; a worker dies at outputs in ``lost``. Gives what the renderer drew."""
    pipeline = fake_pipeline(facemesh_space())

    def find_portrait(image, number=None, rotate="auto"):
        if image.shape != (128, 128, 3):
            raise FaceNotFound("no human face found in the picture")
        return replace(plain_portrait(facemesh_space()), image=np.ascontiguousarray(image))

    def map_rows(build, rows, **_):
        work = build()
        for number, row in enumerate(rows):
            if row.job.output in lost:
                yield Outcome(number, row, error=WorkerDied("the worker was killed by signal 9, 4 times"))
                continue
            try:
                yield Outcome(number, row, work(row))
            except KptalkError as error:
                yield Outcome(number, row, error=error)

    patch.setattr("kptalk.face.portraits.find_portrait", find_portrait)
    patch.setattr("kptalk.pipeline.Pipeline.from_pretrained", lambda *_: pipeline)
    patch.setattr("kptalk.batch.run.map_rows", map_rows)
    return pipeline.method.renderer.drawn


def inputs(folder):
    """A face, a picture without one, and two recordings."""
    for name, side in (("anna.png", 128), ("landscape.png", 100)):
        Image.fromarray(plain_portrait(facemesh_space(), side).image).save(folder / name)
    write_sound(folder / "short.wav", tone(16_000, 0.4), 16_000)
    write_sound(folder / "long.wav", tone(16_000, 0.8), 16_000)
    return folder


def spoken(folder, count):
    """Rows of a real face that the embedded model animates, small and short."""
    Image.fromarray(astronaut()[:320, 60:380]).save(folder / "face.png")
    write_sound(folder / "speech.wav", tone(16_000, 0.5), 16_000)
    row = {"portrait": folder / "face.png", "speech": folder / "speech.wav", "size": 64, "framing": "crop"}
    return [{**row, "seed": seed, "output": f"{seed}.mp4"} for seed in range(count)]


def table(path, rows):
    """A CSV file of mappings."""
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def made(*arguments, **options):
    """What became of the rows, by their numbers, and which of them were known before."""
    progress = list(run_batch(*arguments, **options))
    assert [each.done for each in progress] == list(range(1, len(progress) + 1))
    assert {each.total for each in progress} == {len(progress)}
    return {each.result.row: each.result for each in progress}, {each.result.row for each in progress if each.known}


def listed(folder):
    """The lines of ``results.csv``."""
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def jsonl(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path
