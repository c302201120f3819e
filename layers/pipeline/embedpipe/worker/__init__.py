"""The embed worker: receives, computes, sends, one thread each, so that the model never waits."""

from embedpipe.worker.context import Context, Ports
from embedpipe.worker.process import run_process
from embedpipe.worker.worker import Worker

__all__ = ["Context", "Ports", "Worker", "run_process"]
