"""uvicorn, whose end open streams do not hold up."""

from __future__ import annotations

from types import FrameType

import uvicorn

from kptalk.serve.api import Server


class EndingServer(uvicorn.Server):
    """Tells the streams at the signal that they are to end, before it waits for them."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        found = getattr(getattr(self.config.app, "state", None), "server", None)
        if isinstance(found, Server):
            found.stopping = True
        super().handle_exit(sig, frame)
