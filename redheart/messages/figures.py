"""How numbers are written where people read them."""

from __future__ import annotations


def signed(value: float, digits: int = 3) -> str:
    """With its sign, minus as people write it."""
    return f"{value:+.{digits}f}".replace("-", "−")
