"""Event source mappings of AWS Lambda."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from embedpipe.adapters.aws import error_code
from embedpipe.errors import EventSourceError

#: A mapping that is being changed refuses to be changed: for some seconds, as a rule.
_IN_USE = frozenset({"ResourceInUseException", "ResourceConflictException"})
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


class LambdaEventSources:
    """`ports.EventSources` on AWS Lambda.

    Parameters
    ----------
    ids
        The mapping's UUID by stage; an empty one stands for a stage that has none.
    """

    def __init__(
        self,
        client: Callable[[], Any],
        ids: Mapping[str, str | None],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._ids = {stage: uuid for stage, uuid in ids.items() if uuid}
        self._sleep = sleep

    def set_enabled(self, stage: str, is_enabled: bool) -> bool:
        """See `ports.EventSources.set_enabled`."""
        uuid = self._ids.get(stage)
        if uuid is None:
            return False
        for pause_s in _PAUSES_S:
            if self._update(uuid, is_enabled):
                return True
            self._sleep(pause_s)
        if self._update(uuid, is_enabled):
            return True
        raise EventSourceError("the event source mapping is still being changed")

    def states(self) -> dict[str, str]:
        """See `ports.EventSources.states`."""
        with _translated():
            return {
                stage: str(self._client().get_event_source_mapping(UUID=uuid)["State"])
                for stage, uuid in self._ids.items()
            }

    def _update(self, uuid: str, is_enabled: bool) -> bool:
        from botocore.exceptions import ClientError

        with _translated():
            try:
                self._client().update_event_source_mapping(UUID=uuid, Enabled=is_enabled)
            except ClientError as exc:
                if error_code(exc.response) in _IN_USE:
                    return False
                raise
        return True


@contextmanager
def _translated() -> Iterator[None]:
    """Raise EventSourceError, whatever AWS says: the act is done, and the guard holds."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        raise EventSourceError(f"Lambda answers {error_code(exc.response)}") from exc
    except BotoCoreError as exc:
        raise EventSourceError(f"Lambda does not answer: {type(exc).__name__}") from exc
