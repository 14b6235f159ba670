"""A configuration is checked as a whole: unknown keys, wrong types, contradictions, each with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redheart.config import Config, load_config, load_settings, resolved_yaml
from redheart.config.load import KNOWN_KEYS, Source
from redheart.config.type_description import accepts_null, accepts_text
from redheart.errors import ConfigError


def _file(folder: Path, content: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(content, encoding="utf-8")
    return path


def _problem(path: Path | None = None, *overrides: str | tuple[str, Any]) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config(path, overrides)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == Config()


def test_the_file_goes_over_defaults_and_overrides_over_the_file(tmp_path: Path) -> None:
    path = _file(tmp_path, "seed: 3\ntraining:\n  epochs: 7\n  weight_decay: 0.2\nsweep:\n")
    config = load_config(path, ["training.epochs=8", "training.epochs=9", ("output", "elsewhere")])
    assert (config.seed, config.training.epochs, config.training.weight_decay, config.output) == (
        3,
        9,
        0.2,
        "elsewhere",
    )
    assert config.sweep == Config().sweep, "a section with nothing under it is empty"


def test_an_unknown_key_in_a_file_names_the_file_and_the_nearest_key(tmp_path: Path) -> None:
    path = _file(tmp_path, "training:\n  epoch: 3\n")
    assert _problem(path) == f"{path}: unknown key 'training.epoch'; did you mean 'training.epochs'?"


def test_an_unknown_key_in_an_override_names_the_nearest_key() -> None:
    assert (
        _problem(None, "trainin.epochs=3") == "override: unknown key 'trainin.epochs'; did you mean 'training.epochs'?"
    )
    assert "did you mean 'training.learning_rate'?" in _problem(None, "learning_rate=1e-3")
    assert "did you mean 'training.weight_decay'?" in _problem(None, "sweep.weight_decay=1")
    assert "sections are data, embedding, model" in _problem(None, "qqqqqq=1")


def test_a_wrong_type_names_file_key_found_and_wanted(tmp_path: Path) -> None:
    path = _file(tmp_path, "training:\n  epochs: many\n")
    assert _problem(path) == f"{path}: 'training.epochs': found 'many', wanted a whole number of at least 1"


@pytest.mark.parametrize(
    ("override", "found_and_wanted"),
    [
        ("training.epochs=2.5", "'training.epochs': found 2.5, wanted a whole number of at least 1"),
        ("training.epochs=true", "'training.epochs': found true, wanted a whole number of at least 1"),
        ("training.epochs=", "'training.epochs': found null, wanted a whole number of at least 1"),
        ("training.epochs=0", "'training.epochs': found 0, wanted a whole number of at least 1"),
        ("sweep.lr_min=-1e-5", "'sweep.lr_min': found -1e-05, wanted a number above 0"),
        ("training.warmup_fraction=1.5", "wanted a number of at least 0 and at most 1"),
        ("report.confidence=1", "wanted a number above 0.5 and below 1"),
        ("model.preset=730M", "'model.preset': found '730M', wanted one of auto, tiny, small, 730m"),
        ("training.strict=yes", "'training.strict': found 'yes', wanted true or false"),
        ("training.micro_batch_size=x", "found 'x', wanted a whole number of at least 1 or null"),
        ("training.learning_rate=.inf", "'training.learning_rate': found inf, wanted a number above 0 or null"),
        ("training.learning_rate=.nan", "'training.learning_rate': found nan, wanted a number above 0 or null"),
        ("output=null", "'output': found null, wanted text"),
        ("training=3", "'training' is a section, not a setting; wanted training.KEY=VALUE"),
        ("training.epochs", "wanted KEY=VALUE, such as training.epochs=3"),
        ("training.epochs=[1", "the value is not valid YAML"),
    ],
)
def test_a_wrong_override_says_what_was_found_and_what_is_wanted(override: str, found_and_wanted: str) -> None:
    problem = _problem(None, override)
    assert problem.startswith("override")
    assert found_and_wanted in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("override", "value"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), ("5.6e-05", 5.6e-5), (".001", 1e-3), ("1e2", 100.0), ("+1.5", 1.5), ("1", 1.0)],
)
def test_numbers_are_read_as_people_write_them(tmp_path: Path, override: str, value: float) -> None:
    assert load_config(None, [f"training.learning_rate={override}"]).training.learning_rate == value
    path = _file(tmp_path, f"training:\n  learning_rate: {override}\n")
    assert load_config(path).training.learning_rate == value


def test_words_of_older_yaml_keep_their_letters(tmp_path: Path) -> None:
    assert load_config(_file(tmp_path, "training:\n  precision: no\n")).training.precision == "no"
    assert load_config(None, ["training.precision=no"]).training.precision == "no"
    assert load_config(_file(tmp_path, "seed: 010\n")).seed == 10


@pytest.mark.parametrize("text", ["2025", "1e5", "on", "a: b", "/tmp/a=b", "[x", "2025-01-01"])
def test_an_override_of_a_text_is_taken_as_typed(text: str) -> None:
    assert load_config(None, [f"output={text}"]).output == text
    assert load_config(None, [f"data.path={text}"]).data.path == text


def test_null_takes_a_setting_back() -> None:
    config = load_config(None, ["training.learning_rate=1e-3", "training.learning_rate=null", "data.path=null"])
    assert config.training.learning_rate is None
    assert config.data.path is None


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_nothing_after_the_equals_sign_does_not_mean_the_default(value: str) -> None:
    optional = [key for key, kind in KNOWN_KEYS.items() if accepts_null(kind)]
    assert {"data.path", "training.learning_rate", "sweep.workers"} <= set(optional)
    for key in optional:
        problem = _problem(None, f"{key}={value}")
        assert problem.startswith(f"override '{key}={value}': found nothing after the equals sign")
        assert "is a variable unset?" in problem


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_an_empty_text_is_refused_wherever_it_is_given(tmp_path: Path, value: str) -> None:
    texts = [key for key, kind in KNOWN_KEYS.items() if accepts_text(kind)]
    assert {"output", "data.path", "embedding.model"} <= set(texts)
    for key in texts:
        assert f"option: '{key}': found an empty text, {value!r}" in _problem(None, (key, value))
        section, _, leaf = f"{key}".rpartition(".")
        inner = f"{leaf}: {json.dumps(value)}\n"
        path = _file(tmp_path, f"{section}:\n  {inner}" if section else inner)
        assert f"{path}: '{key}': found an empty text, {value!r}" in _problem(path)
    assert "'output': found an empty text, ''" in _problem(None, "output=")
    assert "'embedding.model': found an empty text, '  '" in _problem(None, "embedding.model=  ")


def test_a_text_that_can_name_nothing_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, 'output: "a\\0b"\nembedding:\n  model: "\\ud800"\n')
    problem = _problem(path)
    assert "'output': found a NUL character, 'a\\x00b', wanted text" in problem
    assert "'embedding.model': found letters that no name has where names are utf-8, '\\ud800'" in problem


def test_a_section_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path, "training: 3\n")
    assert _problem(path) == (f"{path}: 'training' is a section: found 3, wanted a mapping of its settings")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("training:\n  epochs: [1\n", "not valid YAML: line 3, column 1: "),
        ("training:\n\tepochs: 1\n", "not valid YAML: line 2, column 1: "),
        ("a: 1\n b: 2\n", "not valid YAML: line 2, column 3: "),
        ("seed: 1\nseed: 2\n", "not valid YAML: line 2, column 1: the key 'seed' stands there twice"),
        ("- training\n", "found list, wanted a mapping of sections"),
        ("text", "found str, wanted a mapping of sections"),
        ("!!python/object:os.system {}\n", "not valid YAML: line 1, column 1: "),
        ("a: \0", "not valid YAML: "),
    ],
)
def test_what_is_no_yaml_mapping_is_one_line_with_the_place(tmp_path: Path, content: str, problem: str) -> None:
    path = _file(tmp_path, content)
    message = _problem(path)
    assert message.startswith(f"{path}: {problem}")
    assert "\n" not in message


def test_an_absent_or_undecodable_file_is_named(tmp_path: Path) -> None:
    assert _problem(tmp_path / "absent.yaml") == f"{tmp_path / 'absent.yaml'}: can't be read: No such file or directory"
    (tmp_path / "run.yaml").write_bytes(b"seed: \xff\xfe")
    assert "not valid YAML" in _problem(tmp_path / "run.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(_file(tmp_path, "# nothing yet\n")) == Config()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = _file(tmp_path, "training:\n  epoch: 3\n  strict: maybe\nsweep: 5\nseed: -1\n")
    problem = _problem(path, "model.preset=big", "nonsense")
    lines = problem.splitlines()
    assert lines[0] == "6 problems:"
    for told, expected in zip(
        lines[1:],
        ("'training.epoch'", "'training.strict'", "'sweep'", "'seed'", "'model.preset'", "'nonsense'"),
        strict=True,
    ):
        assert expected in told


def test_contradictions_are_told_at_once() -> None:
    problem = _problem(
        None,
        "sweep.lr_min=0.1",
        "training.micro_batch_size=5",
        "sweet_spot.loss_weight=0.9",
        "training.schedule=wsd",
        "training.decay_fraction=0.95",
        "training.r_drop=1",
        "model.dropout=0",
    )
    assert "sweep.lr_min 0.1 is not below sweep.lr_max 0.01" in problem
    assert "training.global_batch_size 32 is not a multiple of training.micro_batch_size 5" in problem
    assert "sum to 1.6, wanted a sum of 1" in problem
    assert "training.warmup_fraction 0.1 and training.decay_fraction 0.95 are more than all steps" in problem
    assert "training.r_drop 1 compares two passes under different dropout, and model.dropout is 0" in problem


def test_what_a_run_resolved_to_can_be_given_back(tmp_path: Path) -> None:
    config = load_config(
        None,
        [
            "training.learning_rate=5.6e-05",
            "training.precision=no",
            "output=1e-4",
            "data.path=한글/데이터.json",
            "seed=10",
        ],
    )
    again = load_config(_file(tmp_path, resolved_yaml(config)))
    assert again == config
    assert again.output == "1e-4"
    assert "한글" in resolved_yaml(config)


@pytest.mark.parametrize(
    "text", ["no", "null", "~", "true", "0x1f", "1_000", "12:30", "2025-01-01", " a ", "a: b", "#"]
)
def test_any_text_survives_being_stored(tmp_path: Path, text: str) -> None:
    config = load_config(None, [("output", text)])
    assert load_config(_file(tmp_path, resolved_yaml(config))) == config


def test_settings_do_not_change_under_a_run() -> None:
    with pytest.raises(AttributeError):
        load_config().training.epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        msgspec.structs.replace(load_config().training, epoch=3)


def test_each_setting_that_was_given_has_the_source_that_spoke_last(tmp_path: Path) -> None:
    path = _file(tmp_path, "seed: 3\ntraining:\n  epochs: 7\n  weight_decay: 0.2\n")
    overrides = ["training.epochs=8", "data.path=x.json", ("output", "there"), ("training.weight_decay", 0.3)]
    loaded = load_settings(path, overrides)
    assert loaded.config == load_config(path, overrides)
    assert loaded.sources == {
        "seed": Source("file", str(path)),
        "training.epochs": Source("override", "training.epochs=8"),
        "training.weight_decay": Source("option"),
        "data.path": Source("override", "data.path=x.json"),
        "output": Source("option"),
    }
