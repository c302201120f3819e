"""Every operation of the OpenAPI document answers whatever is asked as the document says.

Against PostgreSQL, in process. `make fuzz-api` asks more: REQUESTS says for how many each operation
is asked at most.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from embedpipe.api.openapi import document
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.properties.wsgi import as_wsgi
from tests.unit.api.client import ADMIN_KEY, BASE, Client

if TYPE_CHECKING:
    from embedpipe.adapters.postgres import PostgresDatabase

#: No schema can say which cursor was given out, or which model there is.
NOT_CHECKED = [positive_data_acceptance]
REQUESTS = int(os.environ.get("REQUESTS", "4"))


@pytest.fixture
def client(
    postgres_database: PostgresDatabase, maintenance_database: PostgresDatabase
) -> Iterator[Client]:
    """The API on PostgreSQL, with a document that is there to be found."""
    made = Client()
    for tenant_id in ("default", "other"):
        maintenance_database.tenants.create(tenant_id, "free", made.model)
    made.services = replace(made.services, database=postgres_database)
    yield made


@pytest.mark.timeout(7200)
def test_every_operation_keeps_to_the_document(client: Client) -> None:
    schema: Any = schemathesis.openapi.from_wsgi(f"{BASE}/openapi.json", as_wsgi(client.api))
    asked: Counter[str] = Counter()
    failures: list[str] = []

    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        try:
            asking(result.ok(), asked)()
        # All of them are asked; what failed is told together.
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001
            failures.append(f"{result.ok().label}: {told(error):.1500}")

    sys.stdout.write(f"{sum(asked.values())} requests to {len(asked)} operations\n")
    assert not failures, "\n\n".join(failures)
    operations = {
        f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item
    }
    # The document itself is what was loaded to begin with.
    assert operations - set(asked) == {f"GET {BASE}/openapi.json"}


def told(error: BaseException) -> str:
    """Give what is wrong, of all that is."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(told(one) for one in error.exceptions)
    return f"{type(error).__name__}: {error}"


def asking(operation: Any, asked: Counter[str]) -> Callable[[], None]:
    """Make a test of one operation."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=REQUESTS,
        deadline=None,
        database=None,
        derandomize="SEED" not in os.environ,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        asked[operation.label] += 1
        case.call_and_validate(headers={"X-API-KEY": ADMIN_KEY}, excluded_checks=NOT_CHECKED)

    asks: Callable[[], None] = ask
    return asks
