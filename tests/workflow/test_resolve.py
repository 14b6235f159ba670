"""Learning rate, preset and precision are settled in one place, and each says why it is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from redheart.config import Config, load_config
from redheart.engine.factory import make_engine
from redheart.errors import ConfigError, StorageError
from redheart.messages import text
from redheart.storage import write_json
from redheart.sweep.identity import open_sweep, sweep_identity
from redheart.workflow.resolve import (
    DEFAULT_LEARNING_RATE,
    as_the_run_there,
    as_the_sweep_there,
    choose_learning_rate,
    equivalents,
    resolve,
)


@pytest.fixture(params=[(False, False), (True, True), (True, False)], ids=["cpu", "cuda", "cuda without bf16"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str, str]:
    """What ``auto`` comes to on a device, and the keys of the reasons: preset, precision."""
    has_cuda, has_bf16 = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    if not has_cuda:
        return "tiny", "workflow.preset_cpu", "no", "config.precision_cpu"
    if not has_bf16:
        return "730m", "workflow.preset_cuda", "no", "config.precision_no_bf16"
    return "730m", "workflow.preset_cuda", "bf16", "config.precision_bf16"


def test_what_is_left_to_the_device_is_settled_by_it(device: tuple[str, str, str, str]) -> None:
    preset, why_preset, precision, why_precision = device
    asked = load_config()
    resolution = resolve(asked)
    assert resolution.asked is asked
    assert (resolution.config.model.preset, resolution.config.training.precision) == (preset, precision)
    assert resolution.reasons == {"model.preset": text(why_preset), "training.precision": text(why_precision)}
    assert resolution.config.training.learning_rate is None, "nobody asked for one"
    assert resolution.config.training.micro_batch_size is None, "as it was asked for"
    assert resolve(resolution.config).config == resolution.config


def test_what_is_given_stays_on_any_device(device: tuple[str, str, str, str]) -> None:
    asked = load_config(None, ["model.preset=small", "training.precision=fp16", "training.learning_rate=1e-4"])
    resolution = resolve(asked, choose_learning_rate(asked))
    assert resolution.config == asked and resolution.changed == {}
    assert set(resolution.reasons) == {"model.preset", "training.precision", "training.learning_rate"}


def test_the_ablation_takes_the_smallest_preset_unless_another_is_asked_for(device: tuple[str, str, str, str]) -> None:
    resolution = resolve(load_config(), takes_smallest_preset=True)
    assert resolution.config.model.preset == "tiny"
    assert resolution.reasons["model.preset"] == text("config.preset_smallest")
    small = load_config(None, ["model.preset=small"])
    assert resolve(small, takes_smallest_preset=True).config.model.preset == "small"


def test_the_given_rate_goes_over_the_sweeps_and_that_over_the_default(tmp_path: Path) -> None:
    def chosen(*overrides: str, **asked: Any) -> tuple[float, str, str]:
        found = choose_learning_rate(load_config(None, [*overrides, ("output", str(tmp_path))]), **asked)
        return found.value, found.kind, found.why

    path = tmp_path / "lr_sweep_results" / "optimal_lr.json"
    assert chosen() == (DEFAULT_LEARNING_RATE, "default", text("config.lr_no_sweep", path=path))
    path.parent.mkdir()
    path.write_text('{"optimal_lr": "5.6e-05"}')
    assert chosen() == (5.6e-5, "sweep", text("config.lr_sweep", path=path))
    assert chosen(asks_sweep=False) == (DEFAULT_LEARNING_RATE, "default", text("config.lr_default"))
    assert chosen("training.learning_rate=1e-3") == (1e-3, "given", text("config.given"))
    assert chosen("training.learning_rate=1e-3", asks_sweep=False)[:2] == (1e-3, "given")
    path.write_text("{")
    with pytest.raises(StorageError, match=r"optimal_lr\.json"):
        chosen()


def test_fp16_without_a_cuda_device_is_refused_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.precision fp16 needs a CUDA device"):
        make_engine(load_config(None, ["training.precision=fp16"]))


def _asked_where(folder: Path, wanted: str, **run: Any) -> Config:
    write_json(folder / "run.json", run)
    return as_the_run_there(load_config(None, [("output", str(folder)), ("training.precision", wanted)]))


def test_a_run_that_came_to_its_precision_by_auto_is_the_run_that_its_stored_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    by_auto, given = {"training": {"precision": "auto"}}, {"training": {"precision": "no"}}
    assert _asked_where(tmp_path, "no", identity=by_auto, precision="no").training.precision == "auto"
    assert _asked_where(tmp_path, "no", identity=by_auto, precision="fp16").training.precision == "no"
    assert _asked_where(tmp_path, "no", identity=given, precision="no").training.precision == "no"
    assert _asked_where(tmp_path, "auto", identity=by_auto, precision="no").training.precision == "auto"
    assert _asked_where(tmp_path, "auto", identity=given, precision="no").training.precision == "no"
    assert _asked_where(tmp_path, "auto", identity=given, precision="bf16").training.precision == "auto"
    assert _asked_where(tmp_path, "no", identity=None).training.precision == "no"


def test_a_precision_that_auto_does_not_come_to_here_is_taken_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    by_auto = {"training": {"precision": "auto"}}
    assert _asked_where(tmp_path, "no", identity=by_auto, precision="no").training.precision == "no"
    assert _asked_where(tmp_path, "bf16", identity=by_auto, precision="bf16").training.precision == "auto"


def test_the_same_is_asked_for_by_auto_and_by_what_auto_comes_to_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def words(*overrides: str) -> list[tuple[str, str]]:
        found = equivalents(load_config(None, list(overrides)))
        return [(one.model.preset, one.training.precision) for one in found]

    all_four = {("auto", "auto"), ("tiny", "auto"), ("auto", "no"), ("tiny", "no")}
    assert words()[0] == ("auto", "auto") and set(words()) == all_four
    resolved = words("model.preset=tiny", "training.precision=no")
    assert resolved[0] == ("tiny", "no") and set(resolved) == all_four
    assert words("model.preset=small", "training.precision=bf16") == [("small", "bf16")]


@pytest.mark.parametrize("first", ["auto", "no"])
def test_a_sweep_in_the_output_folder_is_found_in_whatever_words_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def asked(precision: str, *more: str) -> Config:
        return load_config(None, [f"output={tmp_path}", f"training.precision={precision}", *more])

    made, second = asked(first), asked("no" if first == "auto" else "auto", "model.preset=tiny")
    assert as_the_sweep_there(second, "data") == second, "there is none yet"
    open_sweep(made, sweep_identity(made, "data"), tmp_path / "lr_sweep_results")
    found = as_the_sweep_there(second, "data")
    assert sweep_identity(found, "data") == sweep_identity(made, "data") != sweep_identity(second, "data")
    for other in (asked(first, "seed=1"), asked("bf16"), asked(first, "training.weight_decay=0.1")):
        assert as_the_sweep_there(other, "data") == other
    assert as_the_sweep_there(second, "other data") == second
