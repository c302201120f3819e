"""Queueing theory, as much as is needed: Little's law, Erlang's C formula, waits."""

from __future__ import annotations

import math

#: Of one service, AWS's quota of ECS: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
MOST_TASKS = 5000


def in_flight(per_s: float, each_s: float) -> float:
    """Say how many are being worked on at once: Little's law.

    Examples
    --------
    >>> in_flight(10, 0.5)
    5.0
    """
    return per_s * each_s


def concurrency(mean: float, *, safety: float = 2.0, least: int = 1) -> int:
    """Say how many at once to allow for so many on average: square-root staffing.

    `safety` standard deviations of a Poisson number above its mean.

    Examples
    --------
    >>> concurrency(4), concurrency(100), concurrency(0)
    (8, 120, 1)
    """
    return max(least, math.ceil(mean + safety * math.sqrt(mean)))


def waiting_share(servers: int, load: float) -> float:
    """Say what share must wait, by Erlang's C formula; 1 when the servers cannot keep up.

    Parameters
    ----------
    load
        Offered load in servers: rate times service time.

    Examples
    --------
    >>> waiting_share(1, 0.5)
    0.5
    >>> round(waiting_share(2, 1.0), 4)
    0.3333
    """
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def wait_s(servers: int, per_s: float, each_s: float, *, share: float = 0.95) -> float:
    """Say what wait this share of arrivals does not exceed; infinite under overload.

    Examples
    --------
    >>> round(wait_s(1, 0.5, 1.0), 3)
    4.605
    """
    load = in_flight(per_s, each_s)
    if load >= servers:
        return math.inf
    waiting = waiting_share(servers, load)
    if waiting <= 1 - share:
        return 0.0
    return math.log(waiting / (1 - share)) / (servers / each_s - per_s)


def servers_for(per_s: float, each_s: float, *, within_s: float, share: float = 0.95) -> int | None:
    """Say how many servers keep the wait within a time; None when MOST_TASKS do not."""
    load = in_flight(per_s, each_s)
    if within_s < 0 or load >= MOST_TASKS:
        return None
    tried = range(math.floor(load) + 1, MOST_TASKS + 1)
    return next((one for one in tried if wait_s(one, per_s, each_s, share=share) <= within_s), None)


def awake_share(arrivals_per_h: float, *, idle_h: float, start_h: float) -> float:
    """Say for what share of the time something runs that stops after an idle time.

    It starts at an arrival, takes `start_h`, and stops when none came for `idle_h`. Arrivals are
    Poisson: it then stays awake for (e^(rate * idle) - 1) / rate, and sleeps for 1 / rate.

    Examples
    --------
    >>> awake_share(0, idle_h=0.25, start_h=0.1)
    0.0
    >>> round(awake_share(4, idle_h=0.25, start_h=0.0), 4)
    0.6321
    """
    if arrivals_per_h <= 0:
        return 0.0
    exponent = min(arrivals_per_h * idle_h, 700.0)
    awake_h = start_h + math.expm1(exponent) / arrivals_per_h
    return awake_h / (awake_h + 1 / arrivals_per_h)
