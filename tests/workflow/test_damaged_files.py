"""A damaged file of ours is named with what helps, and what it says helps does help."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import redheart.sweet_spot
from redheart.ablation.run import read_run as read_ablation_run
from redheart.config import Config
from redheart.crossover import load_result
from redheart.errors import StorageError
from redheart.facts.evaluation import load_evaluation
from redheart.paths import OutputPaths
from redheart.sweet_spot import load_analysis
from redheart.sweet_spot.analysis import analyze
from redheart.training.run_folder import RunFolder
from redheart.workflow import stages
from redheart.workflow.resolve import as_the_run_there
from redheart.workflow.skipping import is_done, mark_done

METRICS = Path(__file__).parents[2] / "docs" / "runs" / "2026-11-23-bundled-sample" / "metrics.jsonl"
DAMAGED = pytest.mark.parametrize("content", ["", '{"a": ', "null", "[]", '"text"'])


@DAMAGED
@pytest.mark.parametrize(
    ("read", "helps"),
    [
        (load_analysis, "run `redheart analyze --force --output {output}`"),
        (lambda file: load_result(file.parent.parent), "run `redheart crossover --force --output {output}`"),
        (lambda file: load_evaluation(file, "weights", ("test",)), "run `redheart evaluate` again, or remove it"),
        (read_ablation_run, "remove it: this run alone is then trained again"),
    ],
    ids=["analysis", "crossover", "evaluation", "ablation"],
)
def test_what_helps_is_said(tmp_path: Path, content: str, read: Callable[[Path], Any], helps: str) -> None:
    file = OutputPaths(tmp_path).candidates
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(StorageError) as said:
        read(file)
    assert str(said.value).startswith(f"{file}: ") and str(said.value).endswith(f"; {helps.format(output=tmp_path)}")


@DAMAGED
def test_a_damaged_analysis_is_made_again_by_what_the_message_says_and_not_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(redheart.sweet_spot, "analyze", partial(analyze, plots=False))
    paths, config = OutputPaths(tmp_path), Config(output=str(tmp_path))
    shutil.copyfile(METRICS, paths.metrics)
    stages.analyze(config)
    whole = load_analysis(tmp_path)
    paths.analysis.write_text(content)
    stages.analyze(config)
    with pytest.raises(StorageError, match="redheart analyze --force"):
        load_analysis(tmp_path)
    stages.analyze(config, force=True)
    assert load_analysis(tmp_path) == whole


@DAMAGED
def test_without_a_damaged_memory_of_stages_they_are_done_again(tmp_path: Path, content: str) -> None:
    mark_done(tmp_path, "analyze", {"metrics": "a"})
    path = OutputPaths(tmp_path).stages
    path.write_text(content)
    with pytest.raises(StorageError, match="remove it: the stages are then done again"):
        is_done(tmp_path, "analyze", {"metrics": "a"}, [], force=False)
    path.unlink()
    assert not is_done(tmp_path, "analyze", {"metrics": "a"}, [], force=False)
    mark_done(tmp_path, "analyze", {"metrics": "a"})
    assert is_done(tmp_path, "analyze", {"metrics": "a"}, [], force=False)


@DAMAGED
def test_without_a_damaged_run_file_a_training_begins_anew_and_what_was_there_is_kept(
    tmp_path: Path, content: str
) -> None:
    paths = OutputPaths(tmp_path)
    paths.metrics.write_text("kept\n")
    paths.run.write_text(content)
    for ask in (lambda: as_the_run_there(Config(output=str(tmp_path))), lambda: RunFolder(tmp_path, {}).is_finished(1)):
        with pytest.raises(
            StorageError, match="remove it: a training then begins anew, and moves what is there to prev"
        ):
            ask()
    paths.run.unlink()
    assert as_the_run_there(Config(output=str(tmp_path))).training == Config().training
    RunFolder(tmp_path, {"seed": 1}).retire_other(force=False)
    (kept,) = paths.previous.iterdir()
    assert (kept / "metrics.jsonl").read_text() == "kept\n" and not paths.metrics.exists()
