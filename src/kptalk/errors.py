"""Everything that kptalk raises on purpose.

    KptalkError
    ├── InputError                what the user gave cannot be used (exit code 2)
    │   ├── ImageError            the portrait cannot be read
    │   ├── AudioError            the speech cannot be read, or holds no sound
    │   ├── FaceError             the portrait has no usable face
    │   │   ├── FaceNotFound
    │   │   └── FaceTooSmall
    │   ├── OutputError           the result cannot be written where it was asked for
    │   ├── OptionError           a flag or argument has a value that makes no sense
    │   ├── MotionError           a motion file is unreadable or of another motion space
    │   ├── DatasetError          a dataset or training clips cannot be used
    │   └── CredentialsError      certificates cannot be used to sign or to check
    ├── WeightsError              weights are missing, damaged or of another architecture
    ├── MissingExtra              an optional dependency is not installed
    ├── WorkerDied                a worker process was killed or crashed twice
    └── Cancelled                 ``Animation.cancel`` was called

Only ``kptalk.cli`` turns these into text and an exit code. Each message is one line that says what was seen and what
to do about it.
"""


class KptalkError(Exception):
    """Base of every error that kptalk raises on purpose.

    Attributes:
        option: the option that the message tells to change, where it names one; the command line adds its flag.
    """

    def __init__(self, message: str = "", *, option: str | None = None) -> None:
        super().__init__(message)
        self.option = option


class InputError(KptalkError):
    """What the user gave cannot be used."""


class ImageError(InputError):
    """The portrait cannot be read as an image."""


class AudioError(InputError):
    """The speech cannot be read, or holds no sound."""


class FaceError(InputError):
    """The portrait has no usable face."""


class FaceNotFound(FaceError):
    """No face was found in the portrait."""


class FaceTooSmall(FaceError):
    """The face has too few pixels to be animated."""


class OutputError(InputError):
    """The result cannot be written where it was asked for."""


class OptionError(InputError):
    """A flag or argument has a value that makes no sense."""


class MotionError(InputError):
    """A motion file is unreadable or of another motion space."""


class DatasetError(InputError):
    """A dataset or training clips cannot be used."""


class CredentialsError(InputError):
    """Certificates or keys cannot be used to sign content credentials, or to check them."""


class WeightsError(KptalkError):
    """Weights are missing, damaged or of another architecture."""


class MissingExtra(KptalkError):
    """An optional dependency is not installed; the message holds the ``pip install`` line."""


class WorkerDied(KptalkError):
    """A worker process was killed or crashed, twice, while it worked on one thing, or before it could begin."""


class Cancelled(KptalkError):
    """``Animation.cancel`` was called, here or in another thread."""
