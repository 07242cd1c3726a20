"""Checksums of damaged files made right again, so that the damage comes to what is behind them."""

from __future__ import annotations

import zlib

OGG_POLYNOMIAL = 0x04C11DB7


def _ogg_row(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1) ^ (OGG_POLYNOMIAL if value & 1 << 31 else 0)
    return value & 0xFFFFFFFF


OGG_ROWS = [_ogg_row(byte) for byte in range(256)]


def repaired(content: bytes) -> bytes:
    """The same with the checksums of Ogg's pages or PNG's chunks as they ought to be; other files as they are."""
    if content.startswith(b"OggS"):
        return _ogg(bytearray(content))
    return _png(bytearray(content)) if content.startswith(b"\x89PNG") else content


def _ogg(data: bytearray) -> bytes:
    """A page is a head of 27 bytes, the checksum at 22, the number of segments at 26; their sizes; the segments."""
    at = data.find(b"OggS")
    while at >= 0 and at + 27 <= len(data):
        sizes = data[at + 27 : at + 27 + data[at + 26]]
        end = min(len(data), at + 27 + len(sizes) + sum(sizes))
        data[at + 22 : at + 26] = bytes(4)
        value = 0
        for byte in data[at:end]:
            value = (value << 8 & 0xFFFFFFFF) ^ OGG_ROWS[value >> 24 ^ byte]
        data[at + 22 : at + 26] = value.to_bytes(4, "little")
        at = data.find(b"OggS", max(end, at + 4))
    return bytes(data)


def _png(data: bytearray) -> bytes:
    """A chunk is its size, its kind, its content and the checksum of the latter two."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)
