from __future__ import annotations

import pytest
from embedpipe.domain.trace import begin, child_of

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_hop_is_a_span_of_its_own_in_the_trace_of_who_sent_it() -> None:
    api = begin(CALLER)

    chunk = child_of(api.traceparent)

    assert chunk is not None
    assert api.trace_id == chunk.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert (api.parent_id, chunk.parent_id) == ("b7ad6b7169203331", api.span_id)
    assert len({api.span_id, chunk.span_id, api.parent_id}) == 3


def test_without_a_caller_s_a_trace_begins_and_nothing_is_its_parent() -> None:
    first, second = begin(None), begin(None)

    assert first.trace_id != second.trace_id
    assert set(first.keys()) == {"trace_id", "span_id"}
    assert child_of(first.traceparent) is not None


@pytest.mark.parametrize(("flags", "handed_on"), [("01", "01"), ("00", "00"), ("ff", "01")])
def test_what_the_caller_says_of_sampling_is_handed_on_and_nothing_else(
    flags: str, handed_on: str
) -> None:
    assert begin(CALLER[:-2] + flags).traceparent.endswith(f"-{handed_on}")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        "nonsense",
        CALLER.upper(),
        CALLER + "\n",
        "ff" + CALLER[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_what_is_no_trace_context_has_no_children(bad: str | None) -> None:
    assert child_of(bad) is None
    assert begin(bad).parent_id == ""
