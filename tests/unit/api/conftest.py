from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from embedpipe import telemetry

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Give a function for the log lines so far, as the API prints them."""
    caplog.set_level(logging.INFO)
    formatter = telemetry.of("api").logger.registered_formatter
    return lambda: [json.loads(formatter.format(record)) for record in caplog.records]
