"""What a watermark says, 64 bits, and the code that lets them survive: a convolutional one, decoded by Viterbi.

The code has constraint length 7 and rate 1/3 (generators 133, 171, 165); see A. J. Viterbi, "Error
bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE Trans. Inf. Theory 13, 1967.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kptalk.types import Array
from kptalk.version import __version__

PRODUCT = 0x4B
BITS, MEMORY = 64, 6
GENERATORS = (0o133, 0o171, 0o165)
CODED = (BITS + MEMORY) * len(GENERATORS)
VERSION_BITS = (4, 6, 6)
STATES = 1 << MEMORY
_registers = np.arange(2 * STATES)
# What a register of the last seven bits sends, as +1 for 0 and -1 for 1: (2 * STATES, 3).
_SENT = np.array(
    [[1 - 2 * ((register & each).bit_count() % 2) for each in GENERATORS] for register in range(2 * STATES)]
)


@dataclass(frozen=True)
class Payload:
    """What a watermark says.

    Attributes:
        version: of the kptalk that made the video, three numbers.
        id: of the video, 32 bits.
    """

    version: tuple[int, int, int]
    id: int

    @classmethod
    def of(cls, *made_from: bytes | str | NDArray[Any]) -> Self:
        """The payload of a video made by this kptalk; the same things that it is made from give the same id."""
        major, minor, patch = (int(number) for number in re.findall(r"\d+", f"{__version__}.0.0")[:3])
        digest = sha256()
        for each in made_from:
            digest.update(sha256(each.encode() if isinstance(each, str) else bytes(each)).digest())
        return cls((major % 16, minor % 64, patch % 64), int.from_bytes(digest.digest()[:4], "big"))

    def __str__(self) -> str:
        return f"kptalk {'.'.join(map(str, self.version))}, video {self.id:08x}"

    def to_int(self) -> int:
        """Product, version, id and a checksum: 8, 16, 32 and 8 bits."""
        value = PRODUCT
        for number, bits in zip((*self.version, self.id), (*VERSION_BITS, 32), strict=True):
            value = value << bits | number
        return value << 8 | _checksum(value)

    @classmethod
    def from_int(cls, value: int) -> Self | None:
        """The inverse; None where product or checksum are others."""
        body, checksum = value >> 8, value & 0xFF
        if body >> 48 != PRODUCT or _checksum(body) != checksum:
            return None
        version = body >> 44 & 15, body >> 38 & 63, body >> 32 & 63
        return cls(version, body & 0xFFFFFFFF)


def encode(value: int) -> NDArray[np.int64]:
    """The coded bits of 64, (CODED,), as +1 for 0 and -1 for 1."""
    sent, register = [], 0
    for k in reversed(range(-MEMORY, BITS)):  # zeros at the end lead back to state 0
        register = (register << 1 | (value >> k & 1 if k >= 0 else 0)) % (2 * STATES)
        sent.append(_SENT[register])
    return np.concatenate(sent)


def decode(received: Array) -> int:
    """The 64 bits whose code is nearest to what was received.

    Args:
        received: (CODED,) floats, positive for 0; their size says how sure it is.
    """
    likely = np.full(STATES, -np.inf)
    likely[0] = 0.0
    chosen = []
    for three in received.reshape(-1, len(GENERATORS)):
        # A register is a state, the last six bits, and the bit that follows; both that end in a state are compared.
        ways = (likely[_registers >> 1] + _SENT @ three).reshape(2, STATES)
        chosen.append(ways.argmax(0))
        likely = ways.max(0)
    value, state = 0, 0
    for k, way in enumerate(reversed(chosen)):
        if k >= MEMORY:
            value |= (state & 1) << (k - MEMORY)
        state = (state + STATES * int(way[state])) >> 1
    return value


def _checksum(value: int) -> int:
    """CRC-8 (polynomial 0x07) of 56 bits."""
    value <<= 8
    for k in reversed(range(8, 64)):
        if value >> k & 1:
            value ^= 0x107 << (k - 8)
    return value
