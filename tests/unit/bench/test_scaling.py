"""The simulation of scaling: its clock, its queues, and what must hold for every run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from embedpipe.domain.capacity.choices import Compute

from bench.scaling import plot, scenarios, validation
from bench.scaling.engine import Clock, Servers
from bench.scaling.pipeline import Pipeline, Setting
from bench.scaling.queues import Message, Queue
from bench.scaling.template import policies

ROOT = Path(__file__).parents[3]


def messages(count: int) -> list[Message]:
    return [Message(number, 0.0, 100.0, 1.0) for number in range(count)]


def test_events_happen_in_the_order_of_their_times() -> None:
    clock, seen = Clock(), []

    clock.after(2, lambda: seen.append(("second", clock.now)))
    clock.after(1, lambda: seen.append(("first", clock.now)))
    clock.run(until_s=10)

    assert seen == [("first", 1.0), ("second", 2.0)]


def test_servers_work_off_a_line() -> None:
    clock, ends = Clock(), []
    servers = Servers(clock, 2)

    for _ in range(5):
        servers.use(1.0, lambda: ends.append(clock.now))
    clock.run(until_s=10)

    assert ends == [1.0, 1.0, 2.0, 2.0, 3.0]
    assert servers.busy_s == 5.0


def test_what_a_dead_consumer_held_comes_back_when_its_visibility_runs_out() -> None:
    clock = Clock()
    queue = Queue(clock, visibility_s=60)
    queue.put(messages(3))
    taken = queue.receive(10)

    queue.delete(taken[:1])
    queue.lost(taken)
    clock.run(until_s=59)
    before = len(queue.visible)
    clock.run(until_s=61)

    assert before == 0
    assert list(queue.visible) == taken[1:]


def test_policies_are_those_of_the_template() -> None:
    read = policies("gpu")

    assert read.idle_periods == 15
    assert read.least <= read.most
    assert read.target > 0
    assert read.visibility_s == 60
    assert read.per_wanted
    assert policies("cpu").buffer_tokens < read.buffer_tokens


def test_the_first_document_waits_for_its_task_and_little_else() -> None:
    outcome = scenarios.first_vector(Compute.GPU)

    start_s = Setting(scenarios.PAGES, compute=Compute.GPU).start_s
    assert start_s + 60 < outcome.first_s < start_s + 240
    assert outcome.peak_tasks == 1


def test_the_last_task_goes_a_quarter_of_an_hour_after_the_last_message() -> None:
    outcome = scenarios.first_vector(Compute.CPU)

    assert outcome.at_zero_s is not None
    assert 15 * 60 <= outcome.at_zero_s - outcome.last_s <= 18 * 60


@pytest.mark.parametrize("notice", [True, False])
def test_nothing_is_lost_with_an_instance(notice: bool) -> None:
    outcome = scenarios.interrupted(notice=notice, documents=3000)

    assert (outcome.stored, outcome.lost) == (3000, 0)


def test_an_instance_lost_without_notice_costs_its_messages_their_visibility() -> None:
    # So many that one task is still at it when the lost ones come back after a minute.
    setting = Setting(scenarios.PAGES, compute=Compute.CPU, fixed_tasks=2)
    ends = []
    for notice in (True, False):
        pipeline = Pipeline(setting)
        pipeline.post(600, within_s=0)
        pipeline.clock.after(5.0, partial(pipeline.service.interrupt, notice=notice))
        ends.append(pipeline.run().last_s)

    assert ends[1] > max(ends[0], 5.0 + 60.0)


def test_a_burst_brings_tasks_and_takes_them_away_again() -> None:
    outcome = scenarios.burst(Setting(scenarios.PAGES), 20_000, within_s=60)

    assert outcome.lost == 0
    assert outcome.peak_tasks > 1
    assert outcome.at_zero_s is not None
    assert outcome.usd > 0


@pytest.mark.parametrize("late", [0, 2])
def test_a_backlog_for_each_wanted_task_does_not_multiply_while_tasks_start(late: int) -> None:
    wanted = scenarios.tracked(30_000, per_wanted=True, cooldown_s=300, late=late)
    running = scenarios.tracked(30_000, per_wanted=False, cooldown_s=120, late=late)

    assert wanted.peak_tasks <= 9  # 8,290 messages wait at most, a thousand for each task
    assert running.peak_tasks == 40
    assert wanted.last_s == pytest.approx(running.last_s, rel=0.05)


@pytest.mark.parametrize(("start_s", "most"), [(307, 1), (1200, 3)])
def test_no_task_is_added_for_counts_that_are_not_there_while_none_runs(
    start_s: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The step adds one each time that its cooldown ends; tracking has no data.
    monkeypatch.setattr(Setting, "start_s", property(lambda _: start_s))

    outcome = scenarios.burst(Setting(scenarios.REPORT, compute=Compute.GPU), 3000, within_s=300)

    assert outcome.peak_tasks == most


def test_three_workers_a_stage_do_nearly_three_times_as_much() -> None:
    one = scenarios.workers(1, database_vcpu=2, compute=Compute.GPU, each=200)
    three = scenarios.workers(3, database_vcpu=2, compute=Compute.GPU, each=200)

    assert three.per_s / one.per_s > 2.5


def test_the_simulation_comes_near_what_was_measured() -> None:
    for run in validation.RUNS:
        measured_s = 60 * run.jobs / run.jobs_per_min

        assert validation.simulated_s(run) == pytest.approx(measured_s, rel=0.2)


def test_tables_of_the_page_are_what_the_simulation_says() -> None:
    # `python -m bench.scaling --docs` writes them all; these are quick.
    page = (ROOT / "docs" / "capacity.md").read_text()

    assert validation.table() in page
    for name, compute in (("GPU", Compute.GPU), ("CPU", Compute.CPU)):
        outcome = scenarios.first_vector(compute)
        assert f"| one document, {name} | {outcome.first_s:.0f} s | {outcome.last_s:.0f} s" in page


def test_a_plot_is_small_and_well_formed() -> None:
    points = [(float(x), float(x % 7)) for x in range(5000)]

    drawing = plot.lines("Tasks & more", "seconds", {"running": points, "wanted": points[:10]})

    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert len(drawing) < 20_000
