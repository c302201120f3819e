from __future__ import annotations

import threading
from typing import Any

from embedpipe.local.errors import InvocationError
from embedpipe.local.scheduler import Scheduler, scheduled_event
from embedpipe.local.template import Schedule


def test_a_failed_run_does_not_stop_the_clock() -> None:
    runs = threading.Semaphore(0)

    class Failing:
        def invoke(self, event: Any) -> Any:
            runs.release()
            raise InvocationError("ValueError", "no")

    scheduler = Scheduler(Schedule("often", rate_s=0.01), Failing(), first_after_s=0.0)
    scheduler.start()

    assert all(runs.acquire(timeout=5) for _ in range(3))
    scheduler.ask_to_stop()
    scheduler.join(5)


def test_a_schedule_without_input_sends_what_eventbridge_sends() -> None:
    event = scheduled_event(Schedule("often", 60))

    assert event["detail-type"] == "Scheduled Event"
    assert event["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/often"]
    assert scheduled_event(Schedule("often", 60, '{"what": 1}')) == {"what": 1}
