"""Finds the faces of a photo, also small ones, several, or in a turned photo, and chooses the one that is to talk."""

import warnings
from dataclasses import dataclass

import cv2
import numpy as np

from kptalk.errors import FaceError, FaceNotFound, FaceTooSmall, OptionError
from kptalk.face.detector import Detection, detect
from kptalk.face.evidence import NO_EVIDENCE, agreement, evidence, tilt
from kptalk.face.geometry import square_around
from kptalk.face.landmarks import FaceMesh
from kptalk.face.topology import LIPS_OUTER
from kptalk.types import Array, Face, Image, Portrait

MOST_TILT = 60.0  # degrees; a face on its side would be drawn with its neck where its cheek is
QUARTER_TILT = 45.0  # degrees, beyond which another position of a turned photo suits the face better
CLEAR = 0.8  # evidence that makes a search needless: no wrong face has as much
SURE = 0.68  # evidence that ends it, the best of the four positions of a photo
LEAST = 0.6  # evidence below which nothing is a face
LIPS_BEYOND, FACE_BEYOND = 0.3, 0.1  # of their landmarks: more outside the photo is refused, or warned of
SMALLEST = 64  # pixels of a face's longer side; below it there is nothing to animate
DETECTION_SIDE = 1280  # the detectors look at less than 200 pixels; more than this only costs time
TILES = (1, 2, 3)  # the photo whole, then in 2 x 2 and 3 x 3 overlapping tiles, until a face is found
LONGEST_ROW = 10  # times as many tiles along a panorama's long side, at most
CROP_SCALE = 2.4  # side of the crop given to FaceMesh, in sides of the detected box
SMALLEST_CROP = 8  # pixels; of a box at the photo's edge less may be left
MESH_SIDE = 640  # pixels, to which the crop is enlarged
ADVICE = "use a photo in which the face is upright, unobstructed and turned to the camera"


@dataclass(frozen=True)
class Candidate:
    """What FaceMesh takes for a face, its tilt in degrees, clockwise, and its ``evidence``."""

    face: Face
    tilt: float
    evidence: float


@dataclass(frozen=True)
class FoundFaces:
    """A photo in one of its four positions, and what may be faces in it, from left to right.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        turned: degrees by which the photo has been turned clockwise for this position: 0, 90, 180 or 270.
        candidates: from left to right.
    """

    image: Image
    turned: int
    candidates: list[Candidate]

    @property
    def evidence(self) -> float:
        """The best evidence of a face that is upright in this position."""
        most = QUARTER_TILT if self.turned else MOST_TILT
        return max((each.evidence for each in self.candidates if abs(each.tilt) <= most), default=NO_EVIDENCE)

    @property
    def faces(self) -> list[Candidate]:
        """The candidates that are faces, from left to right."""
        return [each for each in self.candidates if each.evidence >= LEAST]


def find_faces(image: Image) -> FoundFaces:
    """The faces of a photo (H, W, 3) uint8 RGB, in the position in which they are upright.

    The photo is looked at as it lies. Only where that leaves a doubt it is turned by 90, 180 and 270 degrees too.
    """
    best = as_it_lies = FoundFaces(image, 0, [])
    for tiles in TILES:
        for quarters in range(4):
            view = np.ascontiguousarray(np.rot90(image, -quarters))
            found = FoundFaces(view, 90 * quarters, _candidates(view, tiles))
            if found.evidence > best.evidence:
                best = found
            if not quarters and found.candidates:
                as_it_lies = found
                if found.evidence >= CLEAR:
                    return found
        if best.evidence >= SURE:
            break
    return best if best.evidence >= LEAST else as_it_lies


def find_portrait(image: Image, number: int | None = None, rotate: str = "auto") -> Portrait:
    """The face that is to talk: number ``number`` from the left (1 is the first), or the largest.

    Warns of a turned photo, of several faces where no number is given, and of a face that lies partly outside.

    Args:
        image: (H, W, 3) uint8 RGB.
        number: counted in the upright photo.
        rotate: what happens to a photo that is turned by 90, 180 or 270 degrees: ``auto`` turns it upright, ``no``
            refuses it.

    Returns:
        the face and its photo, upright.

    Raises:
        FaceNotFound: no face, not a human one, or one that is not upright.
        FaceTooSmall: the face is under 64 pixels.
        FaceError: its lips lie outside the photo.
        OptionError: there is no face of that number.
    """
    height, width = image.shape[:2]
    found = find_faces(image)
    if not found.candidates:
        raise FaceNotFound(
            f"no human face found in the {width}x{height} picture (searched whole and in tiles): {ADVICE}"
        )
    if not found.faces:
        raise FaceNotFound(
            f"no clear face found in the {width}x{height} picture (its eyes, nose and mouth do not agree): {ADVICE}"
        )
    if found.turned:
        way = {90: "90 degrees counter-clockwise", 180: "180 degrees", 270: "90 degrees clockwise"}[found.turned]
        if rotate == "no":
            raise FaceNotFound(
                f'the photo is turned by {way}: rotate it until the face is upright, or set rotate="auto"'
            )
        warnings.warn(f"the photo is turned by {way}: turned upright", stacklevel=2)
    chosen = _choose(found.faces, number)
    angle = chosen.tilt
    if chosen.evidence < min(CLEAR, found.evidence):  # others said which way is up; this one may stand on its head
        angle = -_around(found.image, chosen.face).turned or angle
    if abs(angle) > MOST_TILT:
        raise FaceNotFound(
            f"the face is turned by {angle % 360:.0f} degrees in the picture: rotate the photo until it is upright"
        )
    side = square_around(chosen.face.box)[2]
    if side < SMALLEST:
        raise FaceTooSmall(f"the face is {side:.0f} pixels large, at least {SMALLEST} are needed: use a larger photo")
    _check_inside(chosen.face, *found.image.shape[1::-1])
    return Portrait(found.image, chosen.face)


def _around(image: Image, face: Face) -> FoundFaces:
    """What is found in the part of a picture around a face."""
    x, y, side = square_around(face.box, CROP_SCALE)
    rows, columns = (slice(max(0, round(middle - side / 2)), max(0, round(middle + side / 2))) for middle in (y, x))
    return find_faces(image[rows, columns])


def _check_inside(face: Face, width: int, height: int) -> None:
    """FaceMesh completes what lies beyond the photo; that cannot be drawn."""
    outside = (face.landmarks[:, :2] < 0) | (face.landmarks[:, :2] > (width, height))
    beyond = outside[:, 0] | outside[:, 1]
    if beyond[LIPS_OUTER].mean() > LIPS_BEYOND:
        raise FaceError("the lips lie outside the photo, nothing would be seen to speak: use a photo of the whole face")
    if (share := beyond.mean()) > FACE_BEYOND:
        warnings.warn(f"{share:.0%} of the face lies outside the photo: use a photo of the whole face", stacklevel=3)


def _choose(faces: list[Candidate], number: int | None) -> Candidate:
    if number is None:
        sizes = [square_around(each.face.box)[2] if abs(each.tilt) <= MOST_TILT else 0 for each in faces]
        number = 1 + int(np.argmax(sizes))
        if len(faces) > 1:
            warnings.warn(f"{len(faces)} faces found, using the largest (number {number} from the left)", stacklevel=3)
    elif not 1 <= number <= len(faces):
        raise OptionError(f"face {number} requested, but only {len(faces)} found (1 is the leftmost)")
    return faces[number - 1]


def _candidates(image: Image, tiles: int) -> list[Candidate]:
    """What may be faces, from left to right, looking at ``tiles`` x ``tiles`` parts of the picture."""
    detections = _detections(image, tiles)
    candidates = []
    for face in _faces_in_boxes(image, [each.box for each in detections]):
        score = agreement(face, detections)
        candidates.append(Candidate(face, tilt(face), score if score >= CLEAR else evidence(image, face)))
    return sorted(candidates, key=lambda each: each.face.box[0])


def _detections(image: Image, tiles: int) -> list[Detection]:
    """Detections in pixels of the photo, looking at ``tiles`` x ``tiles`` parts that overlap by half.

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
            corner = np.array([x, y], np.float32)
            for face in detect(small):
                box, keypoints = face.box / factor + np.tile(corner, 2), face.keypoints / factor + corner
                found.append(Detection(box, keypoints, face.score))
    return found


def _faces_in_boxes(image: Image, boxes: list[Array]) -> list[Face]:
    """FaceMesh on an enlarged crop around every box; overlapping results count once."""
    faces: list[Face] = []
    if not boxes:
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
