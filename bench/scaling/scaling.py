"""The embed service: tasks that come and go as the policies of the template want it.

Application Auto Scaling is modelled as documented: target tracking makes alarms of its own, and
sets the desired count in proportion to what it is; a step adds to it. For the time of its cooldown
a scale-out reckons from the count before it, so that only a larger one adds something:
https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TargetTrackingScalingPolicyConfiguration.html
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bench.scaling.engine import Clock
from bench.scaling.queues import Message, Queue
from bench.scaling.stages import Task
from bench.scaling.template import Policies

PERIOD_S = 60.0
#: Of the alarms that target tracking makes for itself: one-minute values in a row before it adds,
#: and before it removes; below this share of the target.
OUT_PERIODS, IN_PERIODS, IN_SHARE = 3, 15, 0.9
#: How many minutes back FILL(…, REPEAT) finds the last count of tasks: as far as alarms look.
REPEATED = 5


@dataclass(frozen=True)
class Point:
    """What CloudWatch has of one minute; counts of tasks only while one runs."""

    at_s: float
    visible: int
    work: int
    running: int
    desired: int


class Service:
    """The embed service.

    Parameters
    ----------
    start_s
        From the order to a task that receives.
    metric_delay_s
        After which a minute's values are there for alarms.
    late
        By how many minutes more the counts of tasks come, the last one known standing in.
    """

    def __init__(
        self,
        clock: Clock,
        inbox: Queue,
        policies: Policies,
        *,
        rate: float,
        start_s: float,
        then: Callable[[Message], None],
        metric_delay_s: float = 60.0,
        scales: bool = True,
        late: int = 0,
    ) -> None:
        self.desired = policies.least
        self.task_s = 0.0
        self._clock, self._inbox, self._policies = clock, inbox, policies
        self._rate, self._start_s, self._then = rate, start_s, then
        self._delay_s, self._late = metric_delay_s, late
        self._tasks: dict[Task, float] = {}
        self._points: deque[Point] = deque(maxlen=IN_PERIODS + late + REPEATED)
        self._before_out = policies.least
        self._free_at = {"out": 0.0, "in": 0.0, "from zero": 0.0}
        inbox.wake = self._wake
        if scales:
            clock.every(PERIOD_S, self._measure)

    @property
    def running(self) -> list[Task]:
        """Tasks that receive."""
        return [task for task in self._tasks if task.is_running]

    def set(self, desired: int, *, start_s: float | None = None) -> None:
        """Want so many tasks, within the bounds."""
        self.desired = max(self._policies.least, min(self._policies.most, desired))
        self._reconcile(self._start_s if start_s is None else start_s)

    def interrupt(self, *, notice: bool) -> None:
        """Lose a running task, and have the service replace it."""
        task = self.running[0]
        if notice:
            task.stop()
        else:
            task.kill()
        self._remove(task)
        self._reconcile(self._start_s)

    def billed_s(self) -> float:
        """Seconds that instances were paid for, until now."""
        return self.task_s + sum(self._clock.now - began for began in self._tasks.values())

    def _wake(self) -> None:
        for task in list(self._tasks):
            task.pump()

    def _reconcile(self, start_s: float) -> None:
        while len(self._tasks) < self.desired:
            self._launch(start_s)
        for task in list(reversed(self._tasks)):
            if len(self._tasks) <= self.desired:
                break
            task.stop()
            self._remove(task)

    def _launch(self, start_s: float) -> None:
        task = Task(
            self._clock,
            self._inbox,
            rate=self._rate,
            buffer_tokens=self._policies.buffer_tokens,
            then=self._then,
        )
        self._tasks[task] = self._clock.now
        self._clock.after(start_s, lambda: task.start() if task in self._tasks else None)

    def _remove(self, task: Task) -> None:
        self.task_s += self._clock.now - self._tasks.pop(task)

    # ---- CloudWatch

    def _measure(self) -> None:
        visible, held = len(self._inbox.visible), len(self._inbox.held)
        point = Point(self._clock.now, visible, visible + held, len(self.running), self.desired)
        self._clock.after(self._delay_s, lambda: self._judge(point))

    def _judge(self, point: Point) -> None:
        self._points.append(point)
        policies, points = self._policies, list(self._points)
        if self._counts(points, wanted=True)[-1] < 1 <= point.visible and self._may("from zero"):
            self._wait("from zero", policies.from_zero_cooldown_s)
            self.set(self.desired + 1)
        idle = points[-policies.idle_periods :]
        if len(idle) == policies.idle_periods and all(one.work == 0 for one in idle):
            self.set(policies.least)
        self._track(points)

    def _track(self, points: list[Point]) -> None:
        if self.desired == 0:
            return  # in proportion to nothing it adds nothing: the step leaves zero
        target = self._policies.target
        counts = self._counts(points, wanted=self._policies.per_wanted)
        values = [
            point.visible / count for point, count in zip(points, counts, strict=True) if count
        ][-IN_PERIODS:]
        if not counts[-1]:
            return  # no data: nothing is known of tasks while none runs
        last = values[-OUT_PERIODS:]
        if len(last) == OUT_PERIODS and min(last) > target:
            self._scale_out(values[-1] / target)
            return
        wanted = math.ceil(self.desired * values[-1] / target)
        is_low = len(values) == IN_PERIODS and max(values) < IN_SHARE * target
        if is_low and wanted < self.desired and self._may("in"):
            self._wait("in", self._policies.in_cooldown_s)
            self.set(max(1, wanted))

    def _scale_out(self, times: float) -> None:
        """Want so many times as much as before the scale-out that is cooling down, if there is."""
        if self._may("out"):
            self._before_out = self.desired
        wanted = math.ceil(self._before_out * times)
        if wanted > self.desired:
            self._wait("out", self._policies.out_cooldown_s)
            self.set(wanted)

    def _counts(self, points: list[Point], *, wanted: bool) -> list[int]:
        """Give for each minute the count of tasks that is known then; 0 for none."""
        found = []
        for number in range(1 - self._late, len(points) + 1 - self._late):
            seen = points[max(0, number - 1 - REPEATED) : max(0, number)]
            known = [point.desired if wanted else point.running for point in seen if point.running]
            found.append(known[-1] if known else 0)
        return found

    def _may(self, policy: str) -> bool:
        return self._clock.now >= self._free_at[policy]

    def _wait(self, policy: str, cooldown_s: float) -> None:
        self._free_at[policy] = self._clock.now + cooldown_s
