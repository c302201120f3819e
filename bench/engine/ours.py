"""Ours, as a child: messages on a queue in memory, the real worker, messages on the next queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from embedpipe.domain.jobs import JobRef
from embedpipe.worker import Worker

from bench.engine.child import Answer, Handler, measured, serve
from bench.engine.cpu import InsideRun
from bench.engine.rig import MODEL_ID, Floats, Ids, Rig, settings_of, vectors_of

_TENANTS = ("acme", "globex", "initech", "umbrella")
_MESSAGE_CHUNKS = 16
_TIMEOUT_S = 110.0


class Ours:
    """A worker that keeps running; each round puts all messages of a mix on its queue."""

    def __init__(self, rig: Rig, worker: Worker, mixes: dict[str, Any], inside: InsideRun) -> None:
        self._rig, self._worker, self._inside = rig, worker, inside
        self._mixes = mixes
        self._tokenizer = rig.models.tokenizer(MODEL_ID)

    def handle(self, question: Answer) -> Answer:
        """Run one round. `from` says where it begins: at token ids in messages, or at texts."""
        mix = self._mixes[question["mix"]]
        parts = list(_parts(len(mix["ids"]), question.get("limit")))
        refs = [self._job(part, tenant) for part, tenant in zip(parts, cycle(_TENANTS))]
        if question.get("from") == "texts":
            answer = self._run(refs, lambda: self._encoded(refs, parts, mix["texts"]))
        else:
            bodies = [self._body(r, mix["ids"][p]) for r, p in zip(refs, parts, strict=True)]
            answer = self._run(refs, lambda: bodies)
        vectors = self._vectors(refs)
        if path := question.get("save"):
            np.save(path, vectors)
        return answer | {"rows": len(vectors), "setting": self._setting()}

    def _run(
        self, refs: Sequence[JobRef], bodies: Callable[[], Iterable[tuple[str, str]]]
    ) -> Answer:
        rig = self._rig
        rig.answers.clear()
        counters = self._worker.context.counters

        def work() -> Answer:
            for tenant, body in bodies():
                rig.send_body(body, tenant)
            rig.answers.wait_for(len(refs), _TIMEOUT_S)
            rig.settled(_TIMEOUT_S)
            return {}

        before, inside_s, self._inside.calls = counters.read(), self._inside.seconds(), 0
        answer = measured(work)
        after = counters.read()
        grown = {name: after[name] - before[name] for name in ("tokens", "padded_tokens", "passes")}
        # OpenVINO is not seen from here.
        inside = {"run_cpu_s": self._inside.seconds() - inside_s} if self._inside.calls else {}
        return answer | grown | inside

    def _encoded(
        self, refs: Sequence[JobRef], parts: Sequence[slice], texts: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        for ref, part in zip(refs, parts, strict=True):
            yield self._body(ref, self._tokenizer.encode(texts[part]))

    def _body(self, ref: JobRef, ids: Sequence[Ids]) -> tuple[str, str]:
        return ref.tenant_id, self._rig.jobs.request(ref, ids).encode()

    def _job(self, part: slice, tenant: str) -> JobRef:
        return self._rig.jobs.job(part.stop - part.start, tenant=tenant)

    def _vectors(self, refs: Sequence[JobRef]) -> Floats:
        rows = vectors_of(self._rig.answers.bodies)
        return np.concatenate([rows[ref.job_id] for ref in refs])

    def _setting(self) -> str:
        tuning = self._worker.context.ports.embedders.get(MODEL_ID).tuning
        return f"{tuning.max_batch_tokens}, {tuning.streams} x {tuning.threads or 'all'}"


def _parts(count: int, limit: int | None) -> Iterator[slice]:
    count = min(count, limit or count)
    for start in range(0, count, _MESSAGE_CHUNKS):
        yield slice(start, min(start + _MESSAGE_CHUNKS, count))


def main() -> None:
    """Serve with a worker in threads of this process."""
    with InsideRun.measured() as inside, ExitStack() as stack:

        def start(first: Answer) -> Handler:
            mixes = json.loads(Path(first["mixes"]).read_text())
            rig = Rig(settings_of(Path(first["models_dir"]), **first.get("settings", {})))
            worker = stack.enter_context(rig.running())
            return Ours(rig, worker, mixes, inside).handle

        serve(start)


if __name__ == "__main__":
    main()
