"""Each setting does the stages again that it means something to, and no other; so does another dataset.

A setting that came later is missed by the last test: what it means to each stage stands in the table.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from redheart.ablation.run import Ablator, FinishedRun, write_run
from redheart.ablation.worker import Run
from redheart.batches.table import SituationTable
from redheart.batches.trained_on import save_trained_on
from redheart.config import Config, load_config
from redheart.embedding import EmbeddedDataset, open_embedded
from redheart.embedding.missing import settings_of
from redheart.paths import OutputPaths
from redheart.storage import read_json
from redheart.sweep import run_worker
from redheart.training.trainer import Trainer
from redheart.workflow import stages
from redheart.workflow.inputs import inputs_of, inputs_of_analyze, inputs_of_crossover
from redheart.workflow.resolve import resolve
from tests.training.small_data import embedded_items, write_embedded

TRAINED = "sweep train ablate"
#: By setting: another value, with what has to be set for it to mean anything before a bar, and the stages that it does again.
SETTINGS = {
    "output": ("output=elsewhere", ""),  # another place for everything
    "seed": ("seed=5", f"{TRAINED} crossover"),
    "data.path": ("data.path=x.json", ""),  # by the identity of what lies there
    "data.problem_limit": ("data.problem_limit=3", ""),
    "embedding.model": ("embedding.model=another", "embed"),
    "embedding.batch_size": ("embedding.batch_size=3", ""),
    "embedding.prompt": ("embedding.prompt=query:", "embed"),
    "embedding.window_word_pieces": ("embedding.window_word_pieces=40", "embed"),
    "embedding.max_segments": ("embedding.max_segments=8", "embed"),
    "embedding.precision": ("embedding.precision=bf16", ""),  # vectors of one model all the same
    "embedding.inline": ("embedding.inline=true", "embed"),
    "model.preset": ("model.preset=small", f"{TRAINED} crossover"),
    "model.dropout": ("model.dropout=0.2", TRAINED),
    "training.epochs": ("training.epochs=4", TRAINED),
    "training.learning_rate": ("training.learning_rate=2e-3", "train ablate"),
    "training.global_batch_size": ("training.global_batch_size=8", TRAINED),
    "training.micro_batch_size": ("training.micro_batch_size=4", ""),
    "training.gradient_accumulation_steps": ("training.gradient_accumulation_steps=2", ""),
    "training.weight_decay": ("training.weight_decay=0.1", TRAINED),
    "training.warmup_fraction": ("training.warmup_fraction=0.2", TRAINED),
    "training.schedule": ("training.schedule=wsd", TRAINED),
    "training.decay_fraction": ("training.schedule=wsd | training.decay_fraction=0.3", TRAINED),
    "training.final_lr_fraction": ("training.final_lr_fraction=0.1", TRAINED),
    "training.init_from": ("training.init_from=best_model", TRAINED),  # by the identity of what lies there
    "training.linear_start": ("training.linear_start=false", TRAINED),
    "training.rate_by_coverage": ("training.rate_by_coverage=false", TRAINED),
    "training.layer_lr_decay": ("training.layer_lr_decay=0.9", TRAINED),
    "training.ema_decay": ("training.ema_decay=0.99", TRAINED),
    "training.label_smoothing": ("training.label_smoothing=0.1", TRAINED),
    "training.r_drop": ("training.r_drop=0.5", TRAINED),
    "training.max_grad_norm": ("training.max_grad_norm=2", TRAINED),
    "training.precision": ("training.precision=bf16", TRAINED),
    "training.activation_checkpointing": ("training.activation_checkpointing=true", ""),  # the same numbers
    "training.compile": ("training.compile=true", TRAINED),
    "training.no_param_update": ("training.no_param_update=true", "train"),
    "training.monitor_every": ("training.monitor_every=7", ""),  # how loudly, as are the next three
    "training.dead_update_threshold": ("training.dead_update_threshold=0.1", ""),
    "training.liveness_steps": ("training.liveness_steps=3", ""),
    "training.strict": ("training.strict=true", ""),
    "training.probe_memory": ("training.probe_memory=true", ""),  # how it is cut
    "training.save_every_minutes": ("training.save_every_minutes=1", ""),
    "training.keep_epochs": ("training.keep_epochs=thinned", ""),  # what the next training gives up
    "training.keep_last": ("training.keep_last=7", ""),
    "training.keep_best": ("training.keep_best=2", ""),
    "training.checkpoint_dtype": ("training.checkpoint_dtype=bf16", ""),  # what the next training keeps
    "training.max_nonfinite_steps": ("training.max_nonfinite_steps=5", TRAINED),
    "sweep.lr_min": ("sweep.lr_min=2e-5", "sweep"),
    "sweep.lr_max": ("sweep.lr_max=2e-2", "sweep"),
    "sweep.stages": ("sweep.stages=2", "sweep"),
    "sweep.points": ("sweep.points=4", "sweep"),
    "sweep.max_situations": ("sweep.max_situations=20", "sweep"),
    "sweep.epochs": ("sweep.epochs=1", "sweep ablate"),  # the ablation trains as long as a trial
    "sweep.min_spacing": ("sweep.min_spacing=0.2", "sweep"),
    "sweep.workers": ("sweep.workers=1", ""),
    "sweet_spot.significance": ("sweet_spot.significance=0.1", "analyze"),
    "sweet_spot.loss_weight": ("sweet_spot.loss_weight=0.35 sweet_spot.task_weight=0.35", "analyze"),
    "sweet_spot.task_weight": ("sweet_spot.task_weight=0.45 sweet_spot.stability_weight=0.1", "analyze"),
    "sweet_spot.stability_weight": ("sweet_spot.stability_weight=0.2 sweet_spot.gradient_weight=0.1", "analyze"),
    "sweet_spot.gradient_weight": ("sweet_spot.gradient_weight=0.2 sweet_spot.loss_weight=0.25", "analyze"),
    "crossover.average_last": ("crossover.average_last=7", "crossover"),
    "crossover.random_controls": ("crossover.random_controls=1", "crossover"),
    "ablation.seeds": ("ablation.seeds=3", "ablate"),
    "ablation.epochs": ("ablation.epochs=1", "ablate"),
    "ablation.workers": ("ablation.workers=1", ""),
    "report.bootstrap_samples": ("report.bootstrap_samples=150", "crossover"),  # the others compute again each time
    "report.confidence": ("report.confidence=0.9", "crossover"),
}
BASE = (
    *("training.epochs=3", "training.learning_rate=1e-3", "report.bootstrap_samples=100"),
    *("sweep.stages=1", "sweep.points=3", "ablation.seeds=2"),
)


class DoneAgainError(Exception):
    """In place of the work."""


class FinishedError(Exception):
    """In place of what the ablation does with runs that are all there."""


def work(*_: Any, **__: Any) -> Any:
    raise DoneAgainError


def compare(*_: Any) -> Any:
    raise FinishedError


class Idle:
    """In place of a sweep's workers."""

    def __init__(self, *_: Any) -> None: ...

    run = work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> EmbeddedDataset:
    return open_embedded(write_embedded(folder))


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedDataset:
    return open_embedded(write_embedded(tmp_path_factory.mktemp("another"), embedded_items(81)[1:]))


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a stage does once it knows that there is something to do."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("redheart.training.identity.source_identity", lambda path: "a checkpoint's weights")
    monkeypatch.setattr("redheart.training.trial.statistics_with_source", lambda path, own, **_: own)
    monkeypatch.setattr("redheart.sweep.sweep.Pool", Idle)
    monkeypatch.setattr("redheart.training.trainer.make_engine", work)
    monkeypatch.setattr("redheart.training.run_folder.RunFolder.lost", lambda *_: [])
    monkeypatch.setattr("redheart.ablation.ablation._run_missing", lambda _, missing, *__: missing and work())
    monkeypatch.setattr("redheart.ablation.ablation._compare", compare)


def finish_sweep(config: Config, dataset: EmbeddedDataset) -> None:
    run_worker(
        *(resolve(config).config, dataset.path, dataset.identity, Path(config.output)),
        asked=config,
        runner="tests.sweep.fake_trial:FakeRunner",
    )


def finish_training(config: Config, dataset: EmbeddedDataset) -> None:
    trainer = Trainer(config, dataset, Path(config.output), learning_rate=1e-3)
    facts: Any = {"engine": "plain", "world_size": 1, "device": "cpu", "precision": "no", "dataset": "", "counts": {}}
    trainer.folder.describe(finished=True, **facts)


def finish_ablation(config: Config, dataset: EmbeddedDataset) -> None:
    def run(ablator: Ablator, missing: list[Run], *_: Any) -> None:
        for one in missing:
            finished = FinishedRun(
                identity=ablator.identity(one.variant),
                variant=one.variant,
                without=(),
                seed=one.seed,
                epoch=1,
                curve=(),
                judge_count=0,
                predictions={},
                seconds=1.0,
            )
            write_run(ablator.file(one.variant, one.seed), finished)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(FinishedError):
        patch.setattr("redheart.ablation.ablation._run_missing", run)
        ablate(config, dataset)


def ablate(config: Config, dataset: EmbeddedDataset) -> None:
    stages.ablate(config, dataset, groups=())


#: Of each stage that trains: how it comes to be finished, and how it is asked for.
TRAINING = {
    "sweep": (finish_sweep, stages.sweep),
    "train": (finish_training, stages.train),
    "ablate": (finish_ablation, ablate),
}


def is_done_again(stage: str, config: Config, dataset: EmbeddedDataset) -> bool:
    try:
        TRAINING[stage][1](config, dataset)
    except DoneAgainError:
        return True
    except FinishedError:
        return False
    return False


def configured(output: Path, *overrides: str) -> Config:
    return load_config(None, [f"output={output}", *BASE, *overrides])


@pytest.fixture(scope="module")
def finished(folder: Path, dataset: EmbeddedDataset) -> Path:
    """An output folder in which all that trains is finished, with the base's settings and with what some settings need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr("redheart.ablation.ablation._compare", compare)
        for output, base in ((folder / "a", ()), (folder / "b", ("training.schedule=wsd",))):
            for finish, _ in TRAINING.values():
                finish(configured(output, *base), dataset)
    return folder


def parted(setting: str) -> tuple[list[str], list[str]]:
    """What a setting's other value needs, and the value."""
    needs, _, value = SETTINGS[setting][0].rpartition(" | ")
    return needs.split(), value.split()


@pytest.mark.parametrize("stage", TRAINING)
def test_a_stage_that_trains_does_again_what_a_setting_means_something_to(
    finished: Path, dataset: EmbeddedDataset, stage: str
) -> None:
    found = {}
    assert not is_done_again(stage, configured(finished / "b", "training.schedule=wsd"), dataset)
    for setting in SETTINGS:
        if setting != "output":
            needs, value = parted(setting)
            output = finished / ("b" if needs else "a")
            found[setting] = is_done_again(stage, configured(output, *needs, *value), dataset)
    assert not is_done_again(stage, configured(finished / "a"), dataset)
    assert found == {setting: stage in SETTINGS[setting][1].split() for setting in found}


@pytest.mark.parametrize("stage", TRAINING)
def test_a_stage_that_trains_is_done_again_for_another_dataset(
    finished: Path, dataset: EmbeddedDataset, another: EmbeddedDataset, stage: str
) -> None:
    assert not is_done_again(stage, configured(finished / "a"), dataset)
    assert is_done_again(stage, configured(finished / "a"), another)


def test_a_training_is_done_again_for_texts_that_were_edited_though_their_vectors_are_the_same(
    finished: Path, dataset: EmbeddedDataset, tmp_path: Path
) -> None:
    """Vectors that a file brings don't tell of its texts, and the data's identity has them by their vectors."""
    config = configured(tmp_path)
    finish_training(config, dataset)
    save_trained_on(
        tmp_path, Trainer(config, dataset, tmp_path, learning_rate=1e-3).folder.run, SituationTable.open(dataset)
    )
    assert not is_done_again("train", config, dataset)
    items = embedded_items()
    items[0]["text"] += " Edit: typo."
    edited = open_embedded(write_embedded(tmp_path, items))
    assert edited.identity == dataset.identity and is_done_again("train", config, edited)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_other_stages_inputs_hold_the_settings_that_mean_something_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """That these are what the stages go by is for ``test_inputs_of_stages.py`` and ``tests/embedding`` to say."""
    monkeypatch.chdir(tmp_path)  # where there is a run already, another output is another run
    for path in (tmp_path / "metrics.jsonl", tmp_path / "analysis.json"):
        path.write_text("{}")
    dataset: Any = SimpleNamespace(identity="a", texts_identity="b")

    def inputs(*overrides: str) -> dict[str, Any]:
        config = load_config(None, ["output=training", *overrides])
        files = (tmp_path / "metrics.jsonl", tmp_path / "analysis.json")
        return {
            "embed": (settings_of(config.embedding.model, config.embedding), config.embedding.inline),
            "analyze": inputs_of(inputs_of_analyze(config, files[0])),
            "crossover": inputs_of(inputs_of_crossover(config, dataset, *files)),
        }

    needs, value = parted(setting)
    before, after = inputs(*needs), inputs(*needs, *value)
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == set(SETTINGS[setting][1].split()) - set(TRAINING)


def test_every_setting_is_in_the_table() -> None:
    found = []
    for name, value in msgspec.to_builtins(Config()).items():
        found += [f"{name}.{inner}" for inner in value] if isinstance(value, dict) else [name]
    assert sorted(SETTINGS) == sorted(found)


def test_another_coverage_writes_the_choice_of_a_finished_sweep_again(
    folder: Path, dataset: EmbeddedDataset, tmp_path: Path
) -> None:
    """Its trials are the same, and its interval another."""
    finish_sweep(configured(tmp_path), dataset)
    path = OutputPaths(tmp_path).optimal_lr
    before = path.read_bytes()
    assert not is_done_again("sweep", configured(tmp_path), dataset) and path.read_bytes() == before
    assert not is_done_again("sweep", configured(tmp_path, "report.confidence=0.9"), dataset)
    assert read_json(path)["evidence"]["fit_confidence"] == 0.9
