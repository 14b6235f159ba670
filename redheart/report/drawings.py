"""Small drawings inside the report's tables, as inline SVG: a curve in a cell, an interval on a common scale.

They take their colours from the page (``currentColor`` and its CSS variables), so they follow light, dark and print.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 110, 26
INTERVAL_WIDTH, INTERVAL_HEIGHT = 116, 22


def sparkline(
    epochs: Sequence[int], values: Sequence[float | None], *, chosen: int | None = None, label: str = ""
) -> Markup:
    """A curve over the epochs, with a dot at the chosen one; empty where nothing was measured.

    Args:
        values: one per epoch, None where not measured.
        label: what a screen reader says.
    """
    points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
    if not points:
        return Markup("")
    margin = 4
    first, last = epochs[0], epochs[-1]
    low, high = min(value for _, value in points), max(value for _, value in points)

    def place(epoch: int, value: float) -> tuple[float, float]:
        x = margin + (WIDTH - 2 * margin) * ((epoch - first) / (last - first) if last > first else 0.5)
        y = HEIGHT - margin - (HEIGHT - 2 * margin) * ((value - low) / (high - low) if high > low else 0.5)
        return round(x, 1), round(y, 1)

    path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
    parts = [f'<polyline class="curve" points="{path}"/>' if len(points) > 1 else ""]
    for epoch, value in points:
        if epoch == chosen or len(points) == 1:
            x, y = place(epoch, value)
            parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="3.2"/>')
    return _svg(WIDTH, HEIGHT, "spark", label, "".join(parts))


def interval_bar(
    value: float | None, low: float | None, high: float | None, *, scale: tuple[float, float], label: str = ""
) -> Markup:
    """A point with its interval on ``scale``, and a line at 0; coloured where the interval leaves 0 out.

    What lies beyond the scale is cut at its end.
    """
    if value is None:
        return Markup("")
    margin = 5
    start, end = scale

    def x_of(number: float) -> float:
        share = (min(max(number, start), end) - start) / (end - start)
        return round(margin + (INTERVAL_WIDTH - 2 * margin) * share, 1)

    middle = INTERVAL_HEIGHT / 2
    tone = "above" if low is not None and low > 0 else "below" if high is not None and high < 0 else "around"
    parts = [f'<line class="zero" x1="{x_of(0)}" x2="{x_of(0)}" y1="1" y2="{INTERVAL_HEIGHT - 1}"/>']
    if low is not None and high is not None:
        parts.append(f'<line class="range" x1="{x_of(low)}" x2="{x_of(high)}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="point" cx="{x_of(value)}" cy="{middle}" r="4"/>')
    return _svg(INTERVAL_WIDTH, INTERVAL_HEIGHT, f"interval {tone}", label, "".join(parts))


def _svg(width: int, height: int, classes: str, label: str, content: str) -> Markup:
    return Markup('<svg class="{}" width="{}" height="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        classes, width, height, width, height, label
    ) + Markup(content + "</svg>")  # numbers and fixed names only; the label above is escaped
