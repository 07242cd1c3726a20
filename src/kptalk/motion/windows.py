"""Where the windows of a generator meet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WindowGrid:
    """The frames at which windows join: number ``first`` begins the second window, then one every ``stride`` frames."""

    first: int
    stride: int
