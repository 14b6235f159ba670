"""Tests here share ``sweet_spot_records.py`` beside them, and leave the language of messages as they found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from redheart.messages import language, set_language

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _same_language_afterwards() -> Iterator[None]:
    before = language()
    yield
    set_language(before)
