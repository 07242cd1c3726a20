"""The MP4 container: fragments that play while the file grows, and a plain file that players can seek in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

# What iTunes-style tags hold, which all players show; with any other key FFmpeg's own key list is written instead.
COMMON_TAGS = frozenset({"title", "artist", "album", "comment", "description", "copyright", "date", "genre"})
# One fragment a keyframe; the header waits for the first fragment, since it holds the sound's and pictures' offsets.
FRAGMENTED = "frag_keyframe+delay_moov+default_base_moof"
PLAIN = "faststart"


def create(path: Path, flags: str, metadata: Mapping[str, str]) -> Any:
    """A PyAV container to write to, ``FRAGMENTED`` or ``PLAIN``."""
    flags += "" if COMMON_TAGS.issuperset(metadata) else "+use_metadata_tags"
    # Without "bitexact" the file would name the FFmpeg build; packets are flushed so that a killed run leaves them.
    options = {"movflags": flags, "fflags": "+bitexact", "flush_packets": "1"}
    container = av.open(f"file:{path}", "w", format="mp4", options=options)
    container.metadata.update(metadata)
    return container


def remux(source: Path, target: Any) -> None:
    """Copy the packets of a file into a new container, and close that."""
    with target, av.open(f"file:{source}") as container:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is not None:  # the empty packets at the end have none
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
