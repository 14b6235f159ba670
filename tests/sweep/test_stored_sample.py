"""The files of a sweep that was run, stored in the documentation: read as facts and written again, they are the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from redheart.config import SweepConfig, load_config
from redheart.errors import StorageError
from redheart.sweep.fit import fit_learning_rate
from redheart.sweep.identity import Sweep, describe_sweep, open_sweep
from redheart.sweep.optimal import ChosenFor, read_chosen_for, sweep_that_chose, write_chosen_for, write_optimal_lr
from redheart.sweep.planner import plan_stage
from redheart.sweep.store import CumulativeStore
from redheart.sweep.trials import TrialFolder, trial_of

SAMPLE = Path(__file__).parents[2] / "docs" / "runs" / "2026-11-23-bundled-sample" / "sweep"
SWEEP = "afb55dc776dd307f-1"


@pytest.fixture
def store(tmp_path: Path) -> CumulativeStore:
    """The sample's trials, made again from its cumulative file."""
    shutil.copyfile(SAMPLE / "lr_sweep_cumulative.json", tmp_path / "lr_sweep_cumulative.json")
    store = CumulativeStore(tmp_path)
    assert store.refold().imported == 25
    return store


def test_the_cumulative_file_is_written_again_byte_for_byte(store: CumulativeStore) -> None:
    store.path.unlink()
    store.refold()
    assert store.path.read_bytes() == (SAMPLE / "lr_sweep_cumulative.json").read_bytes()


def test_the_choice_is_written_again_byte_for_byte(store: CumulativeStore, tmp_path: Path) -> None:
    trials = list(store.trials.all().values())
    evidence = fit_learning_rate([trial.observation for trial in trials])
    assert evidence is not None
    write_optimal_lr(tmp_path / "optimal_lr.json", evidence, trials, SWEEP)
    assert (tmp_path / "optimal_lr.json").read_bytes() == (SAMPLE / "optimal_lr.json").read_bytes()
    assert sweep_that_chose(SAMPLE / "optimal_lr.json") == SWEEP


def test_a_trial_built_of_its_facts_is_the_file_that_it_was_read_from(store: CumulativeStore, tmp_path: Path) -> None:
    import msgspec

    for name, trial in store.trials.all().items():
        TrialFolder(tmp_path / "again").publish(name, msgspec.structs.replace(trial, stored=None))
        again = (tmp_path / "again" / "trials" / f"{name}.json").read_bytes()
        assert again == (tmp_path / "trials" / f"{name}.json").read_bytes()
        assert b'"placement"' in again and b'"curve"' in again


def test_the_plans_are_those_by_which_the_sample_was_run(store: CumulativeStore, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SWEEP, 5, 5)
    results = []
    for stage in range(5):
        plan = plan_stage(stage, SweepConfig(), 0, results, results)
        assert sweep.publish_plan(plan) and not sweep.publish_plan(plan)
        assert sweep.plan(stage) == plan
        ran = [store.trials.read(name) for name in sweep.trial_names(stage)]
        assert [(t.learning_rate, t.seed, t.placement) for t in plan.trials] == [
            (t.learning_rate, t.seed, t.placement) for t in ran
        ]
        results += [trial.observation for trial in ran]
    written = json.loads(sweep.plan_file(4).read_text())
    assert list(written) == ["stage", "low", "high", "trials"]
    assert list(written["trials"][0]) == ["point", "learning_rate", "seed", "wanted", "placement"]


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "a-1", 5, 5)
    sweep.plan_file(0).parent.mkdir(parents=True)
    sweep.plan_file(0).write_text('{"stage": 0, "low": 1e-5, "trials": []}')
    with pytest.raises(StorageError, match=r"plan_stage0\.json.*high"):
        sweep.plan(0)


def test_the_description_of_a_sweep_holds_its_identity_seed_and_settings(tmp_path: Path) -> None:
    sweep = open_sweep(load_config(None, ["seed=3"]), "abc", tmp_path)
    content = json.loads((sweep.folder / "sweep.json").read_text())
    assert list(content) == ["identity", "seed", "sweep"]
    assert (content["identity"], content["seed"], content["sweep"]["lr_min"]) == ("abc", 3, 1e-5)
    made = open_sweep(load_config(None, []), "abd", tmp_path, trial={"epochs": 3}, data=Path("x.embedded.json"))
    described = describe_sweep(tmp_path, made.name)
    assert described is not None and (described.trial, described.data) == ({"epochs": 3}, "x.embedded.json")
    assert describe_sweep(tmp_path, "another-1") is None and describe_sweep(tmp_path, None) is None


def test_what_an_older_version_wrote_besides_is_kept_in_its_order_and_what_is_no_fact_counts_as_absent() -> None:
    record = {"note": "by hand", "val_loss": "low", "learning_rate": 1e-4, "stage": 2, "curve": [{"step": 1}]}
    trial = trial_of(record)
    assert trial is not None and trial.record == record and list(trial.record) == list(record)
    assert (trial.val_loss, trial.stage, trial.curve, trial.observation.val_loss) == (None, 2, (), None)


@pytest.mark.parametrize(
    "record", [None, [], {}, {"learning_rate": 0}, {"learning_rate": True}, {"learning_rate": "1"}]
)
def test_a_record_without_a_positive_learning_rate_is_no_trial(record: object) -> None:
    assert trial_of(record) is None


def test_what_a_choice_was_made_for_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_chosen_for(tmp_path) is None
    write_chosen_for(tmp_path, ChosenFor("data-1", "tiny", "/data/a.json"))
    assert (tmp_path / "chosen_for.json").read_text() == (
        '{\n  "dataset": "data-1",\n  "preset": "tiny",\n  "path": "/data/a.json"\n}\n'
    )
    assert read_chosen_for(tmp_path) == ChosenFor("data-1", "tiny", "/data/a.json")
