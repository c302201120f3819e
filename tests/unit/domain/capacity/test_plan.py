"""The capacity model: cases reckoned by hand, and what must hold for every workload."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from embedpipe.cli.plan.books import load
from embedpipe.domain.capacity.alternatives import alternatives
from embedpipe.domain.capacity.bill import monthly_usd
from embedpipe.domain.capacity.book import Book, Books, Row
from embedpipe.domain.capacity.choices import Choices, Compute, Database, Index, Network
from embedpipe.domain.capacity.messages import billed
from embedpipe.domain.capacity.notes import is_possible, notes
from embedpipe.domain.capacity.plan import Plan, plan, template_parameters
from embedpipe.domain.capacity.workload import HOURS_A_MONTH, Workload, document
from hypothesis import given, settings
from hypothesis import strategies as st

BOOKS = load()


def a_workload(**fields: Any) -> Workload:
    return replace(Workload(documents=100_000, tokens=800), **fields)


def a_plan(workload: Workload | None = None, **chosen: Any) -> Plan:
    return plan(workload or a_workload(), Choices(**chosen), BOOKS)


def costs(made: Plan, component: str) -> float:
    return monthly_usd(line for line in made.lines if line.component == component)


def quantity(made: Plan, item: str) -> float:
    [line] = [line for line in made.lines if line.item == item]
    return line.quantity


workloads = st.builds(
    Workload,
    documents=st.floats(1, 1e8),
    tokens=st.floats(1, 100_000),
    slo_s=st.floats(1, 3600),
    peak=st.floats(1, 20),
    hours=st.floats(1, 24),
    together=st.integers(1, 1000),
    queries_per_s=st.sampled_from([0.0, 0.1, 10.0]),
    months=st.integers(1, 36),
    dimensions=st.sampled_from([384, 768, 1024, 3072]),
)
choices = st.builds(
    Choices,
    compute=st.sampled_from(Compute),
    database=st.sampled_from(Database),
    network=st.sampled_from(Network),
    index=st.sampled_from(Index),
    value_bytes=st.sampled_from([2, 4]),
    free_tier=st.booleans(),
)


# ------------------------------------------------------------------------------- reckoned by hand


def test_a_short_document_is_one_chunk_with_its_special_tokens() -> None:
    doc = document(a_workload(tokens=200), BOOKS.figures)

    assert (doc.chunks, doc.batches, doc.model_tokens) == (1, 1, 202)


def test_a_long_document_is_cut_as_it_was_measured() -> None:
    # 10,986 tokens of English came to 60.75 chunks and 12,849 tokens for the model.
    doc = document(a_workload(tokens=10_986), BOOKS.figures)

    assert doc.chunks == pytest.approx(60.75, rel=0.02)
    assert doc.model_tokens == pytest.approx(12_849, rel=0.02)
    assert doc.batches == 1


def test_wide_vectors_take_more_messages() -> None:
    # (240 KiB - 8 KiB) / 16,384 B of base64 are 14 vectors of 3,072 numbers.
    doc = document(a_workload(tokens=10_986, dimensions=3072), BOOKS.figures)

    assert doc.batches == -(-int(doc.chunks + 1) // 14)


@pytest.mark.parametrize(
    ("size", "requests"), [(420, 3), (65_536, 3), (65_537, 5), (135_581, 7), (245_760, 9)]
)
def test_a_message_is_billed_by_64_kib_when_sent_and_received(size: int, requests: int) -> None:
    assert billed(size) == requests


def test_requests_of_small_documents_are_three_for_each_of_three_messages() -> None:
    made = a_plan(a_workload(documents=1000, tokens=200))

    assert made.needs.requests.of_messages == 1000 * 9


def test_event_source_mappings_poll_all_the_time() -> None:
    # Two mappings, five polls at once of 20 s: 1,800 an hour.
    assert a_plan().needs.requests.of_mappings == 1800 * HOURS_A_MONTH


def test_an_idle_task_polls_three_queues_each_five_seconds() -> None:
    made = a_plan(a_workload(documents=1), min_tasks=1)

    assert made.needs.requests.of_idle_tasks == pytest.approx(2160 * HOURS_A_MONTH, rel=1e-6)


def test_the_chunk_function_takes_what_was_measured_and_its_round_trips() -> None:
    made = a_plan(a_workload(tokens=200))

    [chunk] = [one for one in made.needs.functions if one.name == "chunk"]
    # 4.66 ms, 0.947 ms for the chunk, 15 round trips of 1 ms, on one whole processor.
    assert chunk.each_s == pytest.approx(0.020607)


def test_a_smaller_function_works_slower_and_waits_no_longer() -> None:
    made = a_plan(a_workload(tokens=200))

    [store] = [one for one in made.needs.functions if one.name == "store"]
    assert store.each_s == pytest.approx(((1.14 + 0.019) * 1769 / 1024 + 6) / 1000)


def test_documents_of_a_second_are_littles_invocations_at_once() -> None:
    # 2,628,000 a month are one a second; three at the peak.
    made = a_plan(a_workload(documents=2_628_000, tokens=200))

    [chunk] = [one for one in made.needs.functions if one.name == "chunk"]
    assert chunk.peak_per_s == pytest.approx(3.0)
    assert chunk.mean_at_once == pytest.approx(3 * 0.020607)


def test_tokens_beyond_one_gpu_take_more() -> None:
    # 1,000 documents a second of 202 tokens: 202,000 tokens a second on average, 606,000 at the
    # peak: 1.81 GPUs of 335,000.
    made = a_plan(a_workload(documents=1000 * 2_628_000, tokens=200))

    assert made.needs.embedding.load == pytest.approx(606_000 / 335_000)
    assert made.needs.embedding.tasks == 2


def test_tasks_run_for_as_long_as_they_compute_and_a_quarter_more() -> None:
    # 5,000 documents a second of 202 tokens are 3.01 GPUs; 80 % busy they are 3.77.
    made = a_plan(a_workload(documents=5000 * 2_628_000, tokens=200))

    assert made.needs.embedding.task_hours == pytest.approx(3.7687 * HOURS_A_MONTH, rel=1e-4)


def test_aurora_at_its_least_costs_43_80() -> None:
    assert quantity(a_plan(), "Aurora capacity") * 0.12 == pytest.approx(43.80)


def test_aurora_that_pauses_is_awake_for_maintenance_once_an_hour() -> None:
    # Nothing but one run an hour, at random: awake e^(1/6) - 1 of e^(1/6) hours.
    made = a_plan(a_workload(documents=1, together=1_000_000), database=Database.AURORA_PAUSE)

    assert made.needs.storage.mean_acu == pytest.approx(0.5 * (1 - math.exp(-1 / 6)), rel=1e-3)


def test_a_task_that_always_runs_keeps_aurora_awake() -> None:
    made = a_plan(database=Database.AURORA_PAUSE, min_tasks=1)

    assert made.needs.storage.mean_acu == 0.5


def test_database_grows_by_rows_texts_and_vectors() -> None:
    # 1,000 documents of one chunk, a month: 956 + 780 + 1,536 B, 200 tokens and 202 of 3.65 B.
    made = a_plan(a_workload(documents=1000, tokens=200, months=1))

    assert made.needs.storage.gb * 1e9 == pytest.approx(1000 * (956 + 780 + 1536 + 402 * 3.65))


def test_documents_that_are_deleted_stop_counting() -> None:
    kept, for_ever = a_workload(keep_months=2), a_workload()

    assert a_plan(kept).needs.storage.gb == pytest.approx(a_plan(for_ever).needs.storage.gb / 6)


def test_comparing_all_of_100_000_vectors_takes_what_was_measured() -> None:
    made = a_plan(a_workload(documents=100_000, tokens=200, months=1, queries_per_s=1))

    assert made.needs.storage.search_ms == pytest.approx(37.5 + 2.0)


def test_texts_over_64_kib_go_to_s3() -> None:
    assert costs(a_plan(a_workload(tokens=17_900)), "objects") == 0
    assert costs(a_plan(a_workload(tokens=18_000)), "objects") > 0


def test_the_fee_of_managed_instances_is_a_share_of_the_price_on_demand_even_on_spot() -> None:
    made = a_plan(compute=Compute.GPU_SPOT)

    hours = made.needs.embedding.task_hours
    assert quantity(made, "management fee") == pytest.approx(hours * 0.526)


def test_a_quick_answer_needs_a_task_that_always_runs() -> None:
    assert a_plan(a_workload(slo_s=600)).needs.embedding.min_tasks == 0
    assert a_plan(a_workload(slo_s=300)).needs.embedding.min_tasks == 1


def test_a_search_by_text_needs_a_task_that_always_runs() -> None:
    made = a_plan(a_workload(queries_per_s=0.1, months=1))

    assert made.needs.embedding.min_tasks == 1
    assert made.needs.embedding.task_hours >= HOURS_A_MONTH


def test_what_cannot_be_kept_is_said() -> None:
    made = a_plan(a_workload(slo_s=0.01))

    assert made.needs.embedding.tasks is None
    assert not is_possible(made)
    assert "0.01 s to searchable" in notes(made)[0]


def test_a_search_that_is_too_slow_is_said() -> None:
    slow = a_plan(a_workload(documents=10_000_000, queries_per_s=1))

    assert any("a search within 1 s" in note for note in notes(slow))


def test_more_than_a_cluster_has_is_said() -> None:
    made = a_plan(a_workload(documents=100_000_000, queries_per_s=5))

    assert any("256 units" in note for note in notes(made))


def test_more_tasks_than_a_service_has_are_said_and_not_reckoned_for_ever() -> None:
    made = a_plan(a_workload(documents=1e15))

    assert made.needs.embedding.tasks is None
    assert any("a service has 5,000 at most" in note for note in notes(made))
    assert alternatives(made, BOOKS) == ()


def test_a_database_that_pauses_keeps_a_document_waiting() -> None:
    # 240 s from no task, and 30 to wake.
    seldom = a_workload(documents=100, slo_s=250)

    assert is_possible(a_plan(seldom, compute=Compute.CPU))
    pausing = a_plan(seldom, compute=Compute.CPU, database=Database.AURORA_PAUSE)
    assert "takes 30 s to wake" in notes(pausing)[0]
    beating = replace(seldom, slo_s=20)  # a task always runs, and keeps the database awake
    assert is_possible(a_plan(beating, compute=Compute.CPU, database=Database.AURORA_PAUSE))


def test_an_instance_of_rds_that_is_too_small_is_said() -> None:
    made = a_plan(a_workload(documents=10_000_000, queries_per_s=1), database=Database.RDS)

    assert any("no burstable instance" in note for note in notes(made))


def test_no_task_at_all_is_said_where_the_first_document_waits_for_it() -> None:
    made = a_plan(a_workload(slo_s=60), min_tasks=0)

    assert "the first document takes 457 s, more than the 60 s" in notes(made)[0]


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        # Comparing 1.8 million vectors takes 0.7 s, and as many halfvecs 0.9.
        ("halfvec", {"documents": 1e6, "queries_per_s": 1.0, "search_s": 0.8, "collections": 30}),
        ("Aurora that pauses", {"documents": 100, "slo_s": 250.0}),
    ],
)
def test_what_breaks_a_promise_is_no_alternative(what: str, fields: dict[str, Any]) -> None:
    made = a_plan(a_workload(**fields), compute=Compute.CPU)

    assert is_possible(made)
    assert not [one for one in alternatives(made, BOOKS) if what in one.what]


def test_metrics_are_paid_for_in_hours_that_have_data() -> None:
    idle = a_plan(a_workload(documents=1, months=1))
    busy = a_plan(a_workload(documents=1_000_000), min_tasks=1)

    assert quantity(idle, "metrics") == pytest.approx(41, abs=0.2)
    assert quantity(busy, "metrics") == pytest.approx(41 + 15 + 32 + 13 + 4 + 10)


def test_small_loads_are_cheaper_without_a_gpu() -> None:
    found = [one.what for one in alternatives(a_plan(), BOOKS)]

    assert "embed tasks on CPUs (Fargate)" in found


def test_a_cheaper_way_saves_what_it_says() -> None:
    made = a_plan()

    [spot] = [one for one in alternatives(made, BOOKS) if one.what.endswith("a Spot GPU")]
    assert spot.saving_usd == pytest.approx(
        made.monthly_usd - a_plan(compute=Compute.GPU_SPOT).monthly_usd
    )


def test_parameters_of_the_template_follow_from_the_plan() -> None:
    given_parameters = template_parameters(a_plan(a_workload(slo_s=60)))

    assert given_parameters["EmbedMinTasks"] == "1"
    assert given_parameters["ChunkMaximumConcurrency"] == "2"


# ---------------------------------------------------------------------------- for every workload


@settings(max_examples=50, deadline=None)
@given(workloads, choices)
def test_the_bill_adds_up(workload: Workload, chosen: Choices) -> None:
    made = plan(workload, chosen, BOOKS)

    assert made.monthly_usd == pytest.approx(
        sum(max(0.0, line.quantity - line.free) * line.usd for line in made.lines)
    )
    assert all(line.monthly_usd >= 0 for line in made.lines)


@settings(max_examples=50, deadline=None)
@given(workloads, choices, st.floats(1, 10))
def test_more_documents_never_take_less(workload: Workload, chosen: Choices, more: float) -> None:
    small = plan(workload, chosen, BOOKS)
    large = plan(replace(workload, documents=more * workload.documents), chosen, BOOKS)

    assert large.monthly_usd >= small.monthly_usd * (1 - 1e-9)
    if large.needs.embedding.tasks is not None:
        assert large.needs.embedding.tasks >= (small.needs.embedding.tasks or 0)
    assert large.needs.embedding.task_hours >= small.needs.embedding.task_hours * (1 - 1e-9)
    assert large.needs.storage.gb >= small.needs.storage.gb
    for before, after in zip(small.needs.functions, large.needs.functions, strict=True):
        assert after.concurrency >= before.concurrency


@settings(max_examples=50, deadline=None)
@given(workloads, choices)
def test_twice_the_documents_take_at_most_twice_as_much(
    workload: Workload, chosen: Choices
) -> None:
    once = plan(workload, chosen, BOOKS)
    twice = plan(replace(workload, documents=2 * workload.documents), chosen, BOOKS)

    if once.needs.embedding.tasks is not None and twice.needs.embedding.tasks is not None:
        assert twice.needs.embedding.tasks <= 2 * once.needs.embedding.tasks
    assert twice.needs.requests.of_messages == pytest.approx(2 * once.needs.requests.of_messages)
    for before, after in zip(once.needs.functions, twice.needs.functions, strict=True):
        assert after.concurrency <= 2 * before.concurrency


@settings(max_examples=50, deadline=None)
@given(workloads, choices, st.floats(1, 10))
def test_longer_documents_never_take_fewer_chunks_or_messages(
    workload: Workload, chosen: Choices, more: float
) -> None:
    short = document(workload, BOOKS.figures)
    long = document(replace(workload, tokens=more * workload.tokens), BOOKS.figures)

    assert long.chunks >= short.chunks * (1 - 1e-9)
    assert long.batches >= short.batches
    assert long.model_tokens >= short.model_tokens * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(workloads, choices)
def test_what_is_called_cheaper_is(workload: Workload, chosen: Choices) -> None:
    made = plan(workload, chosen, BOOKS)

    for one in alternatives(made, BOOKS):
        assert 0 < one.saving_usd <= made.monthly_usd * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(workloads, choices)
def test_what_is_free_makes_nothing_dearer(workload: Workload, chosen: Choices) -> None:
    free = plan(workload, replace(chosen, free_tier=True), BOOKS)
    paid = plan(workload, replace(chosen, free_tier=False), BOOKS)

    assert free.monthly_usd <= paid.monthly_usd


class Asked(Book):
    """A book that remembers which rows were looked at."""

    def __init__(self, book: Book) -> None:
        super().__init__({name: book.row(name) for name in book})
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> float:
        value = super().__getitem__(name)
        self.asked.add(name)
        return value

    def row(self, name: str) -> Row:
        self.asked.add(name)
        return super().row(name)


def test_every_row_of_the_books_is_asked_for() -> None:
    # What was measured or looked up and is then forgotten is a mistake of the model.
    figures, prices = Asked(BOOKS.figures), Asked(BOOKS.prices)
    ways = [[*Compute], [*Database], [*Network], [*Index], [2, 4], [200, 20_000], [100, 60_000]]

    for compute, database, network, index, value_bytes, tokens, documents in product(*ways):
        workload = a_workload(tokens=tokens, queries_per_s=0.05, documents=documents)
        chosen = Choices(compute, database, network, index, value_bytes, all_alarms=tokens > 200)
        plan(workload, chosen, Books(figures, prices))
    seldom, pausing = a_workload(documents=1), Choices(database=Database.AURORA_PAUSE)
    plan(seldom, pausing, Books(figures, prices))

    assert set(figures) - figures.asked == set()
    assert set(prices) - prices.asked == set()
