"""A window that stays alive while a video is made: the work has a thread, its news a queue, and cancel is a button.

python examples/gui_thread.py face.jpg speech.m4a talk.mp4
Here the window is the terminal and the button is Ctrl-C; Tk would call ``poll`` by ``root.after``, Qt by a QTimer.
"""

import sys
import time
from queue import Empty, SimpleQueue
from threading import Event, Thread

from kptalk import Animation, Pipeline
from kptalk.errors import Cancelled, KptalkError


class Worker(Thread):
    """Makes one video; nothing in it waits for the window, and the window waits for nothing in it."""

    def __init__(self, pipeline: Pipeline, portrait: str, speech: str, output: str) -> None:
        super().__init__()
        self.job, self.news, self.stopped = (
            (pipeline, portrait, speech, output),
            SimpleQueue[tuple[str, str]](),
            Event(),
        )
        self.animation: Animation | None = None

    def run(self) -> None:
        pipeline, portrait, speech, output = self.job
        try:
            self.animation = pipeline.animate(portrait, speech)  # finds the face
            if self.stopped.is_set():
                self.animation.cancel()
            self.news.put(("done", str(self.animation.save(output, overwrite=True, on_progress=self.tell))))
        except Cancelled:
            self.news.put(("cancelled", ""))
        except KptalkError as error:
            self.news.put(("failed", str(error)))

    def tell(self, stage: str, done: int, total: int | None) -> None:
        self.news.put((stage, f"{done} of {total or 'unknown'} frames"))

    def cancel(self) -> None:
        """For the button."""
        self.stopped.set()
        if self.animation:
            self.animation.cancel()

    def poll(self) -> list[tuple[str, str]]:
        """For the window's timer: what there is to show, now."""
        news = []
        while True:
            try:
                news.append(self.news.get_nowait())
            except Empty:
                return news


def main_loop(worker: Worker) -> str:
    """What the toolkit does otherwise; returns how it ended."""
    worker.start()
    while True:
        try:
            for kind, text in worker.poll():
                print(f"{kind:>9} {text}")
                if kind in ("done", "cancelled", "failed"):
                    return kind
            time.sleep(0.05)
        except KeyboardInterrupt:
            worker.cancel()


if __name__ == "__main__":
    main_loop(Worker(Pipeline.from_pretrained(), *sys.argv[1:4]))
