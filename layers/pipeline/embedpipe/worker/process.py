"""The worker as a process: signals and the exit status."""

from __future__ import annotations

import gc
import logging
import os
import signal
from types import FrameType

from embedpipe.worker.worker import Worker


def run_process(worker: Worker) -> int:
    """Run until SIGTERM or SIGINT; a second one ends the process at once.

    Returns
    -------
    The exit status. Does not return where a thread hangs in the model after the stop timeout:
    ends the process with that status.
    """
    asked: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if asked:
            # Whatever is held comes back when its visibility runs out.
            os._exit(128 + number)
        asked.append(number)
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    # What is loaded by now stays: looking for garbage in it would stop all threads for long.
    gc.freeze()
    status = worker.run()
    if worker.is_stuck:
        logging.shutdown()
        os._exit(status)
    return status
