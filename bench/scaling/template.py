"""The scaling policies, read from template.yaml as they stand there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


@dataclass(frozen=True)
class Policies:
    """How the embed service scales. Times in seconds."""

    least: int
    most: int
    target: float
    out_cooldown_s: float
    in_cooldown_s: float
    from_zero_cooldown_s: float
    idle_periods: int
    visibility_s: float
    buffer_tokens: float
    chunk_concurrency: int
    store_concurrency: int


def policies(path: Path = TEMPLATE) -> Policies:
    """Read them; a parameter has its default."""
    read = yaml.load(path.read_text(), _Loader)
    resources, parameters = read["Resources"], read["Parameters"]

    def of(value: Any) -> float:
        return float(parameters[value]["Default"] if isinstance(value, str) else value)

    def properties(name: str) -> dict[str, Any]:
        return dict(resources[name]["Properties"])

    tracking = properties("EmbedBacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]
    from_zero = properties("EmbedFromZeroPolicy")["StepScalingPolicyConfiguration"]
    return Policies(
        least=int(of(properties("EmbedScaling")["MinCapacity"])),
        most=int(of(properties("EmbedScaling")["MaxCapacity"])),
        target=of(tracking["TargetValue"]),
        out_cooldown_s=of(tracking["ScaleOutCooldown"]),
        in_cooldown_s=of(tracking["ScaleInCooldown"]),
        from_zero_cooldown_s=of(from_zero["Cooldown"]),
        idle_periods=int(of(properties("EmbedIdleAlarm")["EvaluationPeriods"])),
        visibility_s=of(properties("EmbedQueue")["VisibilityTimeout"]),
        buffer_tokens=of("EmbedBufferTokens"),
        chunk_concurrency=int(
            of(properties("ChunkEventSource")["ScalingConfig"]["MaximumConcurrency"])
        ),
        store_concurrency=int(
            of(properties("StoreEventSource")["ScalingConfig"]["MaximumConcurrency"])
        ),
    )


class _Loader(yaml.SafeLoader):
    """YAML in which `!Ref Name` is the name, and other functions are nothing."""


_Loader.add_constructor("!Ref", lambda loader, node: node.value)
_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
