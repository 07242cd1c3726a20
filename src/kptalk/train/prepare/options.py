"""What is wanted of a clip; imported without torch, for the command line's defaults."""

from dataclasses import dataclass, fields

from kptalk.errors import OptionError

BOUNDS = {
    "min_face": (16, 4000),
    "max_yaw": (1, 90),
    "min_sharpness": (0, 100_000),
    "min_sync": (-1, 1),
    "max_lag": (0, 15),
    "longest": (2, 600),
}


@dataclass(frozen=True)
class PrepareOptions:
    """Limits of a clip, and how it is made.

    Attributes:
        model: whose motion space the motion is read in: a name or a folder; ``none`` for no motion.
        min_face: pixels of the face's width, median.
        max_yaw: degrees from the camera, median.
        min_sharpness: variance of the Laplacian of the face at 128 pixels, median.
        min_sync: least correlation of lips and sound.
        max_lag: frames by which the sound may be shifted to bring it into step.
        longest: seconds after which a clip is cut.
    """

    model: str = "embedded"
    min_face: float = 64.0
    max_yaw: float = 60.0
    min_sharpness: float = 0.0
    min_sync: float = 0.25
    max_lag: int = 5
    longest: float = 60.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            OptionError: one is out of range.
        """
        for each in fields(self)[1:]:
            value, (least, most) = getattr(self, each.name), BOUNDS[each.name]
            if not least <= value <= most:
                raise OptionError(f"{each.name} is {value:g}: give {least} to {most}")
