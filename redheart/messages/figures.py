"""Formats of numbers in text for people."""

from __future__ import annotations


def signed(value: float, digits: int = 3) -> str:
    """With its sign, minus as people write it."""
    return f"{value:+.{digits}f}".replace("-", "−")
