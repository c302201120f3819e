"""Lines over time as a small SVG: axes, a legend, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 34
COLOURS = ("#0b6e99", "#d9730d", "#4d6461", "#ad1a72")
MOST_POINTS = 240

Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, curves: Mapping[str, Points]) -> str:
    """Draw curves with one scale; each starts at zero."""
    right = max((x for points in curves.values() for x, _ in points), default=1.0) or 1.0
    top = max((y for points in curves.values() for _, y in points), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="15" font-weight="bold">{escape(title)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        x, y = _at(share * right, share * top, right, top)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{share * top:,.4g}</text>'
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">'
            f"{share * right:,.0f}</text>"
        )
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(across)}</text>')
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*_at(x, y, right, top)) for x, y in _thinned(points))
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
        x = LEFT + 190 + 105 * number
        parts.append(f'<text x="{x}" y="{HEIGHT - 6}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _at(x: float, y: float, right: float, top: float) -> tuple[float, float]:
    across = LEFT + (WIDTH - LEFT - RIGHT) * x / right
    return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top


def _thinned(points: Points) -> Points:
    """Keep so many, the last one too."""
    step = max(1, len(points) // MOST_POINTS)
    kept = list(points[::step])
    return kept if kept and kept[-1] == points[-1] else [*kept, points[-1]]
