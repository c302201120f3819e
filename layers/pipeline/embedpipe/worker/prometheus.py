"""The worker's counters in the text format of Prometheus."""

from __future__ import annotations


def prometheus(is_healthy: bool, details: dict[str, object]) -> str:
    """Give what /health says as text."""
    lines = ["# TYPE embedpipe_worker_healthy gauge", f"embedpipe_worker_healthy {is_healthy:d}"]
    for name in ("held_messages", "held_tokens", "requests_active"):
        lines += [
            f"# TYPE embedpipe_worker_{name} gauge",
            f"embedpipe_worker_{name} {details[name]}",
        ]
    counters = details["counters"]
    if isinstance(counters, dict):
        for name, count in counters.items():
            full = f"embedpipe_worker_{name.removesuffix('_s')}"
            full += "_seconds_total" if name.endswith("_s") else "_total"
            lines += [f"# TYPE {full} counter", f"{full} {count}"]
    return "\n".join(lines) + "\n"
