"""A few real portraits, prepared once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from kptalk.face.find import find_portrait
from kptalk.face.framing import crop_framing
from kptalk.media.image import read_image
from kptalk.motion.facemesh.space import FaceMeshSpace
from kptalk.render.mesh.renderer import MeshRenderer, PreparedMesh

CLOSED = ("sadtalker_people_0", "liveportrait_s9", "hallo_7", "lia_monroe")
OPEN = ("hdtf_BenCardin1", "face_recogniti_obama_small")

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def renderer(space: FaceMeshSpace) -> MeshRenderer:
    return MeshRenderer(space)


@pytest.fixture(scope="session")
def photos(renderer: MeshRenderer, shared_data: Path) -> dict[str, PreparedMesh]:
    found = {}
    for name in CLOSED + OPEN:
        portrait = find_portrait(read_image(shared_data / "portraits" / f"{name}.jpg"))
        found[name] = renderer.prepare(crop_framing(portrait, 384).portrait)
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))
