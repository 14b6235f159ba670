"""A dataset whose batches mostly lack a head's targets, and the comparison of several processes with one on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from redheart.data.splits import split_of
from tests.training.runs import assert_same_but_few, metrics, weights
from tests.training.small_data import embedded_items, write_embedded

OVERRIDES = ["training.epochs=2", "training.global_batch_size=8", "model.preset=tiny", "model.dropout=0.0"]


def embedded_without_targets(folder: Path) -> Path:
    """Regret everywhere; of the training situations two have a label, three emotions, and none anything of SURD."""
    items: list[dict[str, Any]] = embedded_items()
    seen = 0
    for item in items:
        del item["surd_metrics"]
        if split_of(item["text"]) == "train":
            seen += 1
            for field, places in (("label", (5, 30)), ("label_scores", ()), ("emotions", (2, 17, 40))):
                if seen not in places:
                    item.pop(field, None)
    return write_embedded(folder, items)


def assert_equals_one_process(output: Path, plain: Path) -> None:
    for line, expected in zip(metrics(output), metrics(plain), strict=True):
        assert line["updates"] == expected["updates"] > 4
        for part in ("train", "choose"):
            assert line[part]["loss"] == pytest.approx(expected[part]["loss"], rel=1e-4)
            assert line[part]["terms"] == pytest.approx(expected[part]["terms"], rel=1e-3, abs=1e-6)
    assert expected["train"]["terms"]["heads.surd"] == 0 < expected["train"]["terms"]["heads.verdict"]
    assert_same_but_few(weights(output), weights(plain))
