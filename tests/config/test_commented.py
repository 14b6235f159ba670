"""A configuration with comments is still the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from redheart.config import Config, load_config, resolved_yaml
from redheart.config.commented import commented_yaml
from redheart.config.load import KNOWN_KEYS, SECTIONS

SETTINGS = [key for key in KNOWN_KEYS if key not in SECTIONS]


def _read_back(folder: Path, text: str) -> Config:
    path = folder / "printed.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_without_comments_it_is_what_is_stored_with_a_run() -> None:
    config = load_config(None, ["training.precision=no", "training.learning_rate=5.6e-05", "data.path=~"])
    assert commented_yaml(config, {}) == resolved_yaml(config)


def test_each_comment_stands_at_its_settings_line() -> None:
    lines = commented_yaml(load_config(), {"seed": "of all", "training.epochs": "long", "sweep.epochs": "short"}).split(
        "\n"
    )
    assert "seed: 0  # of all" in lines
    training, sweep = lines.index("training:"), lines.index("sweep:")
    assert lines[training + 1] == "  epochs: 60  # long"
    assert [line for line in lines[sweep:] if "#" in line] == ["  epochs: null  # short"]


@pytest.mark.parametrize(
    "comment", ["plain", "a: b", "# twice", "two\nlines: 3", "line\u2028separator", "null\x00byte", "한국어", "'\""]
)
def test_no_comment_changes_a_setting(tmp_path: Path, comment: str) -> None:
    config = load_config(None, ["training.epochs=7", "output=elsewhere"])
    assert _read_back(tmp_path, commented_yaml(config, dict.fromkeys(SETTINGS, comment))) == config


@pytest.mark.parametrize("text", ["#", " # no comment", "a\nb", "a\n\n  b: c", "x\u2028y", "long " * 60, "null", "~"])
def test_no_text_is_lost_beside_its_comment(tmp_path: Path, text: str) -> None:
    config = load_config(None, [("output", text), ("data.path", text)])
    assert _read_back(tmp_path, commented_yaml(config, dict.fromkeys(SETTINGS, "said"))) == config
