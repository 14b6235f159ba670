"""A resolution keeps what was asked for beside what it came to."""

from __future__ import annotations

import pytest

from redheart.config import Resolution, load_config, with_settings
from redheart.config.resolution import setting


def test_settings_are_put_in_their_places_and_nothing_else_changes() -> None:
    config = load_config(None, ["training.epochs=3"])
    changed = with_settings(config, {"model.preset": "small", "training.precision": "no", "seed": 4})
    assert (changed.model.preset, changed.training.precision, changed.seed) == ("small", "no", 4)
    assert changed == load_config(
        None, ["training.epochs=3", "model.preset=small", "training.precision=no", ("seed", 4)]
    )
    assert config == load_config(None, ["training.epochs=3"])
    assert setting(changed, "model.preset") == "small" and setting(changed, "seed") == 4


def test_what_was_given_is_not_among_what_was_settled() -> None:
    asked = load_config(None, ["model.preset=tiny"])
    config = with_settings(asked, {"training.learning_rate": 1e-4, "training.precision": "no"})
    reasons = {"model.preset": "given", "training.learning_rate": "by the sweep", "training.precision": "by the device"}
    resolution = Resolution(asked, config, reasons)
    assert resolution.changed == {"training.learning_rate": "by the sweep", "training.precision": "by the device"}
    assert resolution.learning_rate == 1e-4


def test_a_part_can_be_settled_alone() -> None:
    asked = load_config()
    settled = {"model.preset": "tiny", "training.learning_rate": 1e-4, "training.precision": "no"}
    found = Resolution(asked, with_settings(asked, settled), {}).with_only("training.learning_rate")
    assert found == load_config(None, ["training.learning_rate=1e-4"])


def test_a_learning_rate_that_was_not_settled_is_not_to_be_had() -> None:
    with pytest.raises(AssertionError):
        _ = Resolution(load_config(), load_config(), {}).learning_rate
