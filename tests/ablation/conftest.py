"""Stories whose regret lies in the order of two windows alone, and a model small enough to learn that in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from redheart.messages import set_up_logging
from redheart.model.presets import PRESETS

D_EMBED = 16


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The model is so small that threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    set_up_logging(quiet=True)
    yield


@pytest.fixture
def small_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny`` at a third of its width."""
    small = replace(
        PRESETS["tiny"],
        d_model=32,
        layers=1,
        head_width=32,
        analyzer_width=32,
        wrapper_width=32,
        phase_width=16,
        signal_channels=8,
        signal_width=16,
        state_width=16,
    )
    monkeypatch.setitem(PRESETS, "tiny", small)


def write_ordered(path: Path, count: int = 160) -> Path:
    """One of two windows stands first and the other last; which, is what the narrator regrets. No mean knows it."""
    generator = np.random.default_rng(0)
    title, action, one, other, between, whole = generator.standard_normal((6, D_EMBED))
    items = []
    for number in range(count):
        is_regretted = number % 2 == 0
        first, last = (one, other) if is_regretted else (other, one)
        vectors = np.stack([title, action, first, *[between] * 4, last, whole])
        emotions = generator.dirichlet(np.ones(7))
        items.append(
            {
                "id": f"s{number}",
                "title": f"Case {number}",
                "action": "doing it",
                "text": f"The story of case {number}, told in full.",
                "label": str(generator.choice(["AUTHOR", "OTHER"])),
                "emotions": emotions.tolist(),
                "regret_factor": float(np.clip(0.1 + 0.8 * is_regretted + 0.05 * generator.standard_normal(), 0, 1)),
                "embedding": (vectors + 0.1 * generator.standard_normal(vectors.shape)).round(4).tolist(),
                "embedding_kinds": [0, 1, *[2] * 6, 3],
            }
        )
    path.write_text(json.dumps(items), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ordered(tmp_path_factory.mktemp("ordered") / "ordered.embedded.json")
