"""Situations of the bundled sample with made-up vectors, written as lists into the file, so that no encoder is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import redheart.data

D_EMBED = 16
SAMPLE = Path(redheart.data.__file__).parent / "sample" / "situations.json"


def embedded_items(count: int = 80) -> list[dict[str, Any]]:
    """Items of the sample, 4 to 7 vectors each: a title, an action, windows of text, and the text whole."""
    items: list[dict[str, Any]] = json.loads(SAMPLE.read_text(encoding="utf-8"))[:count]
    assert len(items) == count
    for number, item in enumerate(items):
        generator = np.random.default_rng([7, number])
        windows = 1 + number % 4
        vectors = generator.standard_normal((3 + windows, D_EMBED)).round(4)
        vectors[:, 0] += 3 * (item["regret_factor"] - 0.5)  # something to learn
        item["embedding"] = vectors.tolist()
        item["embedding_kinds"] = [0, 1] + [2] * windows + [3]
    return items


def write_embedded(folder: Path, items: list[dict[str, Any]] | None = None) -> Path:
    path = folder / "small.embedded.json"
    path.write_text(json.dumps(embedded_items() if items is None else items), encoding="utf-8")
    return path
