"""Finding the faces in a photo, also small ones and several, and choosing the one that is to talk."""

import warnings

import cv2
import numpy as np

from kptalk.errors import FaceNotFound, FaceTooSmall, OptionError
from kptalk.face.detector import detect_boxes
from kptalk.face.geometry import square_around
from kptalk.face.landmarks import FaceMesh
from kptalk.face.topology import EYE_CORNERS
from kptalk.types import Array, Face, Image, Portrait

MOST_TILT = 60.0  # degrees; a face on its side would be drawn with its neck where its cheek is
SMALLEST = 64  # pixels of a face's longer side; below it there is nothing to animate
DETECTION_SIDE = 1280  # the detectors look at less than 200 pixels; more than this only costs time
TILES = (1, 2, 3)  # the photo whole, then in 2 x 2 and 3 x 3 overlapping tiles, until a face is found
LONGEST_ROW = 10  # times as many tiles along a panorama's long side, at most
CROP_SCALE = 2.4  # side of the crop given to FaceMesh, in sides of the detected box
SMALLEST_CROP = 8  # pixels; of a box at the photo's edge less may be left
MESH_SIDE = 640  # pixels, to which the crop is enlarged


def find_faces(image: Image) -> list[Face]:
    """All faces of a photo (H, W, 3) uint8 RGB that FaceMesh can follow, from left to right; empty if there is none."""
    attempts = (_faces_in_boxes(image, _boxes(image, tiles)) for tiles in TILES)
    return sorted(next(filter(None, attempts), []), key=lambda face: face.box[0])


def find_portrait(image: Image, number: int | None = None) -> Portrait:
    """The face that is to talk: number ``number`` from the left (1 is the first), or the largest.

    Warns if there are several faces and no number is given.

    Raises:
        FaceNotFound: no face, or not a human one.
        FaceTooSmall: the face is under 64 pixels.
        OptionError: there is no face of that number.
    """
    height, width = image.shape[:2]
    faces = find_faces(image)
    if not faces:
        raise FaceNotFound(
            f"no human face found in the {width}x{height} picture (searched whole and in tiles): "
            "use a photo in which the face is upright, unobstructed and turned to the camera"
        )
    if number is None:
        number = 1 + int(np.argmax([square_around(face.box)[2] for face in faces]))
        if len(faces) > 1:
            warnings.warn(f"{len(faces)} faces found, using the largest (number {number} from the left)", stacklevel=2)
    elif not 1 <= number <= len(faces):
        raise OptionError(f"face {number} requested, but only {len(faces)} found (1 is the leftmost)")
    face = faces[number - 1]
    across = np.diff(face.landmarks[EYE_CORNERS, :2].mean(1), axis=0)[0]  # from eye to eye
    tilt = np.degrees(np.arctan2(across[1], across[0]))
    if abs(tilt) > MOST_TILT:
        raise FaceNotFound(
            f"the face is turned by {tilt:.0f} degrees in the picture: rotate the photo until it is upright"
        )
    side = square_around(face.box)[2]
    if side < SMALLEST:
        raise FaceTooSmall(f"the face is {side:.0f} pixels large, at least {SMALLEST} are needed: use a larger photo")
    return Portrait(image, face)


def _boxes(image: Image, tiles: int) -> Array:
    """Detected boxes (N, 4) in pixels of the photo, looking at ``tiles`` x ``tiles`` parts that overlap by half.

    A panorama has more parts along its long side: the detectors would squeeze it until no face is left.
    """
    height, width = image.shape[:2]
    sides = ((height, width), (width, height))
    rows, columns = (tiles * max(1, min(LONGEST_ROW, round(side / (2 * other)))) for side, other in sides)
    tile_h, tile_w = int(np.ceil(2 * height / (rows + 1))), int(np.ceil(2 * width / (columns + 1)))
    found = []
    for row in range(rows):
        for column in range(columns):
            y, x = row * (height - tile_h) // max(rows - 1, 1), column * (width - tile_w) // max(columns - 1, 1)
            tile = image[y : y + tile_h, x : x + tile_w]
            factor = min(1.0, DETECTION_SIDE / max(tile.shape[:2]))
            small = cv2.resize(tile, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else tile
            found.append(detect_boxes(small) / factor + np.array([x, y, x, y], np.float32))
    return np.concatenate(found)


def _faces_in_boxes(image: Image, boxes: Array) -> list[Face]:
    """FaceMesh on an enlarged crop around every box; overlapping results count once."""
    faces: list[Face] = []
    if not len(boxes):
        return faces
    with FaceMesh(confidence=0.3) as mesh:
        for box in boxes:
            x, y, side = square_around(box, CROP_SCALE)
            if any(_contains(face, x, y) for face in faces):
                continue
            left, top = max(0, int(x - side / 2)), max(0, int(y - side / 2))
            crop = image[top : max(0, int(y + side / 2)), left : max(0, int(x + side / 2))]
            if min(crop.shape[:2]) < SMALLEST_CROP:
                continue
            factor = MESH_SIDE / max(crop.shape[:2])
            smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
            found = mesh(cv2.resize(crop, None, fx=factor, fy=factor, interpolation=smooth))
            if found:
                landmarks = found.landmarks / np.float32(factor) + np.array([left, top, 0], np.float32)
                face = Face(landmarks, found.presence)
                if _contains(face, x, y):
                    faces.append(face)
    return faces


def _contains(face: Face, x: float, y: float) -> bool:
    x0, y0, x1, y1 = face.box
    return x0 <= x <= x1 and y0 <= y <= y1
