"""A training that begins with the weights of a checkpoint: which ones it takes, what it keeps of them, and what does not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.batches.trained_on import find_trained_on, leave_out_trained
from redheart.checkpoint import find_start, list_epochs, load_modules
from redheart.checkpoint.epoch import epochs_folder
from redheart.checkpoint.restore import restore_model
from redheart.checkpoint.thinning import thin
from redheart.cli.main import main
from redheart.config import Config, TrainingConfig, load_config
from redheart.data.splits import split_of
from redheart.errors import AnotherModel, Interrupted, StorageError, UsageError
from redheart.evaluation.evaluate import evaluate_model
from redheart.model import UnifiedModel, dimensions
from redheart.storage import read_json
from redheart.storage.seal import write_sealed
from redheart.training.identity import run_identity, trial_identity
from redheart.training.init_from import (
    has_start,
    initialise,
    solves_start,
    source_identity,
    statistics_with_source,
    with_preset_of_source,
    without_what_trained,
)
from redheart.training.optimizer import learning_rate_scales
from redheart.training.trial import TrialRunner
from redheart.workflow.export import export
from tests.training.runs import metrics, same_bits, train, weights
from tests.training.small_data import write_embedded
from tests.training.test_average import StopAt


@pytest.fixture(scope="module")
def source(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    chosen = ["training.epochs=1", "training.global_batch_size=16", "model.preset=tiny", "model.dropout=0.0"]
    output = tmp_path_factory.mktemp("source") / "run"
    train(dataset, output, load_config(None, chosen))
    return output


@pytest.fixture
def epoch(source: Path) -> Path:
    return list_epochs(source)[-1].path


def test_it_begins_with_the_weights_and_scores_of_the_source_and_solves_nothing(
    dataset: Path,
    settings: Callable[..., Config],
    tmp_path: Path,
    source: Path,
    epoch: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    monkeypatch.setattr("redheart.training.trainer.start_linear_paths", lambda *_: pytest.fail("solved"))
    output = tmp_path / "out"
    train(dataset, output, settings(epochs=1, init_from=str(epoch)))
    start = find_start(output)
    assert start is not None and same_bits(load_modules(start.path), weights(source))
    assert start.manifest.metrics is not None
    assert start.manifest.metrics["choose"].loss == pytest.approx(metrics(source)[-1]["choose"]["loss"], rel=1e-6)
    assert f"{epoch}의 가중치에서 시작합니다 (에폭 1, " in logged()
    assert not same_bits(weights(output), weights(source)), "it trains"


def test_a_stop_goes_on_without_reading_the_source_again(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, epoch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(epochs=1, init_from=str(epoch))
    train(dataset, tmp_path / "whole", config)
    with pytest.raises(Interrupted):
        train(dataset, tmp_path / "cut", config, should_stop=StopAt(2))
    monkeypatch.setattr("redheart.training.trainer.initialise", lambda *_: pytest.fail("read again"))
    train(dataset, tmp_path / "cut", config)
    assert same_bits(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_every_kind_of_checkpoint_gives_the_same_weights(
    table: SituationTable, source: Path, epoch: Path, tmp_path: Path
) -> None:
    manifest, state = list_epochs(source)[-1].manifest, weights(source)
    combined = tmp_path / "crossover_final.pth"
    torch.save({"manifest": msgspec.to_builtins(manifest.without_files()), "state_dict": state}, combined)
    (tmp_path / "crossover").mkdir()
    (tmp_path / "crossover" / "candidates.json").write_text("{}")
    exported = export(epoch, tmp_path / "exported")
    found = []
    for path in (epoch, combined, tmp_path / "crossover", exported):
        shape = dimensions("tiny", d_embed=table.d_embed, dropout=0.3)
        model = UnifiedModel(
            shape, statistics_with_source(path, table.statistics(table.split_indices["train"]), is_solved=False)
        )
        initialise(model, path, table.dataset, shape)
        assert same_bits(dict(model.state_dict()), state), path
        found.append(source_identity(path))
    assert len(set(found)) == 3 and found[1] == found[2]


def test_the_source_belongs_to_the_runs_and_the_trials_identity(
    settings: Callable[..., Config], tmp_path: Path, source: Path, epoch: Path
) -> None:
    plain, begun = settings(), settings(init_from=str(epoch))
    start = settings(init_from=str(source / "checkpoints" / "start"))
    runs = [run_identity(config, "data", "tiny", 1e-3) for config in (plain, begun, start)]
    assert len({str(one) for one in runs}) == 3
    assert "init_from" not in str(runs[0]) and str(epoch) not in str(runs[1]), "by what lies there, not by where"
    assert trial_identity(plain, "data") != trial_identity(begun, "data")


def test_predictions_before_the_first_step_are_the_sources_on_other_data_too(
    table: SituationTable, source: Path, epoch: Path
) -> None:
    """Whose targets have another mean and spread; a task that the source never saw is measured by the new data."""
    own = table.statistics(table.split_indices["train"])
    shifted = replace(own.tasks["regret"], mean=(0.123,), scale=(0.321,), coverage=0.5, targets=7)
    new = type(own)({**own.tasks, "regret": shifted})
    kept = statistics_with_source(epoch, new, is_solved=False)
    assert kept["regret"].mean == own["regret"].mean and kept["regret"].coverage == 0.5 and kept["regret"].targets >= 20
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed, dropout=0.0), kept)
    initialise(model, epoch, table.dataset, model.config)
    expected = evaluate_model(restore_model(epoch), table, "choose")
    assert evaluate_model(model.eval(), table, "choose").loss == pytest.approx(expected.loss, rel=1e-6)


def test_a_task_that_the_source_never_saw_is_measured_by_the_new_data(
    table: SituationTable, epoch: Path, tmp_path: Path
) -> None:
    never = Path(shutil.copytree(epoch, tmp_path / "never"))
    manifest = read_json(never / "manifest.json")
    manifest["target_counts"]["regret"] = [19]
    write_sealed(never / "manifest.json", manifest)
    own = table.statistics(table.split_indices["train"])
    shifted = replace(own.tasks["regret"], mean=(0.123,), scale=(0.321,))
    kept = statistics_with_source(never, type(own)({**own.tasks, "regret": shifted}), is_solved=False)
    assert kept["regret"] == shifted and kept["emotion"] == own["emotion"]
    model = UnifiedModel(dimensions("tiny", d_embed=table.d_embed, dropout=0.0), kept)
    initialise(model, never, table.dataset, model.config)
    scales = learning_rate_scales(model, TrainingConfig(init_from=str(never)))
    rates = {name: scales[f"heads.{name}.linear.weight"] for name in ("regret", "emotion")}
    assert rates == {"regret": 1.0, "emotion": 0.1}, "what nobody has solved for or learnt learns as all else"
    assert np.isclose(float(dict(model.named_buffers())["heads.regret.mean"]), 0.123)


def test_what_does_not_fit_is_named(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, epoch: Path, table: SituationTable
) -> None:
    small = msgspec.structs.replace(
        settings(init_from=str(epoch)), model=load_config(None, ["model.preset=small"]).model
    )
    with pytest.raises(AnotherModel, match=r"found preset 'tiny' .*this training has preset 'small'"):
        train(dataset, tmp_path / "out", small)
    for path, error, said in (
        (tmp_path / "nothing", UsageError, "found no such file or folder; wanted a checkpoint"),
        (tmp_path, UsageError, "found a folder without manifest.json; wanted a checkpoint"),
    ):
        with pytest.raises(error, match=said):
            train(dataset, tmp_path / "out", settings(init_from=str(path)))
    (tmp_path / "text.pth").write_text("none")
    with pytest.raises(UsageError, match=r"text\.pth: found a file that is no PyTorch archive"):
        train(dataset, tmp_path / "out", settings(init_from=str(tmp_path / "text.pth")))


def test_a_source_that_the_run_would_move_out_of_its_way_is_refused_and_left_where_it_is(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, source: Path
) -> None:
    output = Path(shutil.copytree(source, tmp_path / "out"))
    epoch = list_epochs(output)[-1].path
    with pytest.raises(UsageError, match=r"epoch_0001 lies in .*out, whose run has to make room.*--output"):
        train(dataset, output, settings(epochs=1, init_from=str(epoch)))
    assert epoch.is_dir() and not (output / "previous").exists()


def test_a_damaged_source_is_refused_before_a_step(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, epoch: Path
) -> None:
    damaged = Path(shutil.copytree(epoch, tmp_path / "damaged"))
    file = damaged / "phases.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(StorageError, match=r"phases\.safetensors: its SHA-256 is not the manifest's"):
        train(dataset, tmp_path / "out", settings(init_from=str(damaged)))
    assert not list_epochs(tmp_path / "out")


def test_the_preset_is_the_sources_where_none_is_asked_for(epoch: Path) -> None:
    config = load_config(None, [f"training.init_from={epoch}"])
    assert with_preset_of_source(config).model.preset == "tiny"
    asked = load_config(None, [f"training.init_from={epoch}", "model.preset=small"])
    assert with_preset_of_source(asked) is asked


@pytest.mark.parametrize("preset", ["auto", "tiny"])
def test_what_is_no_source_is_refused_before_anything_is_embedded_whatever_the_preset(
    tmp_path: Path, epoch: Path, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    shutil.copytree(epoch, epochs_folder(output) / epoch.name)
    left = thin(output, list_epochs(output)[0], ["phases"])
    for path, said in ((left.path, "1 of 17 modules are kept"), (tmp_path / "nothing", "found no such file or folder")):
        words = ["train", "--output", str(tmp_path / "out"), "--preset", preset, "--init-from", str(path)]
        assert main(words) == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_trial_begins_with_it_too_and_a_solved_start_is_had_where_asked_for(
    dataset: Path, settings: Callable[..., Config], epoch: Path, table: SituationTable
) -> None:
    config = settings(epochs=1, init_from=str(epoch))
    scores: list[float] = []
    TrialRunner(config, dataset).run(
        learning_rate=1e-4, seed=3, score_start=True, on_epoch=lambda number, chosen, score: scores.append(chosen.loss)
    )
    assert scores[0] == pytest.approx(evaluate_model(restore_model(epoch), table, "choose").loss, rel=1e-6)
    assert not solves_start(config.training) and has_start(config.training)
    assert solves_start(settings(init_from=str(epoch), linear_start=True).training)
    assert solves_start(settings().training) and not has_start(settings(linear_start=False).training)


def test_skills_stand_beside_what_is_constant_in_the_new_data_and_what_trained_the_source_is_not_judged(
    dataset: Path, settings: Callable[..., Config], tmp_path: Path, source: Path, epoch: Path, logged: Callable[[], str]
) -> None:
    """On other data: regret has another mean, and texts that trained the source were edited into the validation half."""
    items = json.loads(dataset.read_text(encoding="utf-8"))
    moved = []
    for item in items:
        item["regret_factor"] = round(0.6 + 0.3 * item["regret_factor"], 3)
        if len(moved) < 3 and split_of(item["text"]) == "train":
            edits = (f"{item['text']} Edit {number}." for number in range(1000))
            item["text"] = next(text for text in edits if split_of(text) == "choose")
            moved.append(item["id"])
    (tmp_path / "data").mkdir()
    other = write_embedded(tmp_path / "data", items)
    output, whole = tmp_path / "out", SituationTable.open(other)
    train(other, output, settings(epochs=1, init_from=str(epoch)))
    assert "choose 3" in logged() and moved[0] in logged()
    manifest = list_epochs(output)[-1].manifest
    own = whole.statistics(whole.split_indices["train"])
    model = restore_model(list_epochs(output)[-1].path)
    assert model.statistics["regret"].mean != own["regret"].mean == model.statistics.constant["regret"].mean
    assert manifest.metrics is not None and manifest.metrics["choose"].count == whole.counts["choose"] - 3
    judged = leave_out_trained(whole, manifest, [output], ("choose", "judge", "test"))
    assert judged.left_out == {"choose": 3}, "wherever it is judged from now on"
    scored = evaluate_model(model, judged.table, "choose")
    error = np.mean((scored.predictions["regret"] - scored.targets["regret"]) ** 2)
    constant = np.mean((np.array(own["regret"].mean) - scored.targets["regret"]) ** 2)
    assert scored.tasks["regret"].skill == pytest.approx(1 - error / constant, abs=1e-6)
    assert manifest.metrics["choose"].tasks["regret"].skill == pytest.approx(scored.tasks["regret"].skill, abs=1e-4)
    record = find_trained_on(manifest.run, [output])
    assert record is not None and [one.run for one in record.sources] == [list_epochs(source)[-1].manifest.run]
    exported = export(list_epochs(output)[-1].path, tmp_path / "exported")
    found = UnifiedModel.from_pretrained(exported)
    assert found.statistics.constant["regret"].mean == own["regret"].mean
    # What has no record of a run beside it is said to be unknown, and used.
    kept, known = without_what_trained(tmp_path / "exported", whole)
    assert kept is whole and known == [] and "trained_on.json" in logged()


def test_a_run_on_the_sources_own_data_has_one_constant_predictor(table: SituationTable, epoch: Path) -> None:
    own = table.statistics(table.split_indices["train"])
    assert statistics_with_source(epoch, own, is_solved=False).training_split is None
