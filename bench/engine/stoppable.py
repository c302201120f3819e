"""A worker as a process, as `functions/embed_gpu` runs it, on the queues of the process above."""

from __future__ import annotations

import sys
from pathlib import Path

from embedpipe.adapters.tokenizer import ModelsDirectory
from embedpipe.worker import run_process

from bench.engine.remote_ports import connected
from bench.engine.rig import make_worker, settings_of


def main() -> int:
    """Run until a signal."""
    socket_name, models_dir = sys.argv[1], Path(sys.argv[2])
    settings = settings_of(models_dir)
    ports = connected(socket_name)
    worker = make_worker(
        settings,
        ModelsDirectory(models_dir),
        {"normal": ports["queue"]},
        ports["answers"],
        ports["jobs"],
        sys.stderr,
    )
    worker.prepare()
    print("ready", flush=True)
    return run_process(worker)


if __name__ == "__main__":
    sys.exit(main())
