"""The picture of an ablation: a mark for each worth that there is, in its row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from redheart.ablation import plot
from redheart.ablation.scores import METRICS


def test_a_worth_is_drawn_in_its_row_and_a_metric_that_a_variant_has_not_leaves_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = METRICS[0]
    drawn: list[tuple[str, int]] = []
    monkeypatch.setattr(plot, "_span", lambda worths: (0.0, float(len(worths))))
    monkeypatch.setattr(plot, "_draw_worth", lambda axes, worth, position, *_: drawn.append((worth, position)))
    rows: Any = [SimpleNamespace(variant="a", worth={}), SimpleNamespace(variant="b", worth={metric.name: "worth"})]
    axes = MagicMock()
    plot._panel(axes, metric, tuple(rows))
    assert drawn == [("worth", 1)]
    axes.set_xlim.assert_called_once_with(-0.06, 1.06)
