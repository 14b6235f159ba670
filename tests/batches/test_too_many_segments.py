"""A text is cut into no more segments than the model takes: said where it is asked for, and where it has happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.batches.table import SituationTable
from redheart.config import MAX_SEGMENTS, load_config
from redheart.errors import ConfigError, DataError
from redheart.model.presets import PRESETS
from tests.training.small_data import embedded_items, write_embedded


def test_asking_for_more_is_refused_with_the_setting_what_was_found_and_what_is_allowed() -> None:
    assert load_config(None, [f"embedding.max_segments={MAX_SEGMENTS}"]).embedding.max_segments == 16
    with pytest.raises(ConfigError) as refused:
        load_config(None, ["embedding.max_segments=17"])
    for part in ("embedding.max_segments", "found 17", "at least 4 and at most 16"):
        assert part in str(refused.value)


def test_it_is_what_every_preset_takes() -> None:
    assert {one.max_segments for one in PRESETS.values()} == {MAX_SEGMENTS}


def test_a_dataset_embedded_with_more_is_refused_by_id(tmp_path: Path) -> None:
    items = embedded_items()
    vector = items[7]["embedding"][2]
    for number, windows in ((7, MAX_SEGMENTS - 2), (8, MAX_SEGMENTS - 3)):
        items[number] |= {
            "embedding": [vector] * (windows + 3),
            "embedding_kinds": [0, 1, *[2] * windows, 3],
        }
    path = write_embedded(tmp_path, items)
    with pytest.raises(DataError) as refused:
        SituationTable.open(path)
    for part in (
        str(path),
        "1 of 80 situations",
        f"id {items[7]['id']}: found 17 segments",
        "at most 16",
        "max_segments",
    ):
        assert part in str(refused.value)
    assert items[8]["id"] not in str(refused.value)
