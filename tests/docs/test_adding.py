"""``docs/adding.md`` does what it says: its examples, applied to a copy of the package, work, each in its own way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.page import Block, blocks_by_section

PROJECT = Path(__file__).parents[2]
SECTIONS = blocks_by_section(PROJECT / "docs" / "adding.md")
EXAMPLES = [block for blocks in SECTIONS.values() for block in blocks if block.file]
ANNOTATED = next(block.text for block in SECTIONS["A task"] if block.language == "json")


@dataclass(frozen=True)
class Extended:
    """The copy with all examples in it, and what a run of it left: ``said`` on standard output, files in ``output``."""

    root: Path
    output: Path
    said: str

    def json(self, name: str) -> Any:
        return json.loads((self.output / name).read_text(encoding="utf-8"))

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        return python(self.root, *words)


def python(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the package under ``root``, and the tests of the project."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(PROJECT))), "REDHEART_LANG": "en"},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


def copied(root: Path, blocks: list[Block]) -> Path:
    shutil.copytree(PROJECT / "redheart", root / "redheart", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks:
        block.apply(root)
    return root


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    folder = tmp_path_factory.mktemp("adding")
    root = copied(folder / "package", EXAMPLES)
    done = python(root, str(PROJECT / "tests" / "docs" / "whole_run.py"), str(folder), ANNOTATED)
    assert done.returncode == 0, done.stderr
    return Extended(root, folder / "out", done.stdout)


def test_the_page_has_an_example_of_everything_that_is_meant_to_be_added() -> None:
    wanted = ["A task", "A sweet-spot technique", "A crossover candidate", "A callback", "A command"]
    assert list(SECTIONS) == wanted and all(SECTIONS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_one_thing_is_one_new_file_at_most_and_lines_in_one_list_beside_its_words(section: str) -> None:
    blocks = [block for block in SECTIONS[section] if block.file]
    assert sum(block.language == "python" for block in blocks) <= 1
    listed = {block.file for block in blocks if block.language == "diff" and "messages/" not in block.file}
    assert len(listed) == 1, f"another list to add it to: {listed}"


def test_the_examples_are_in_the_projects_style(tmp_path: Path) -> None:
    root = copied(tmp_path, EXAMPLES)
    shutil.copy(PROJECT / "pyproject.toml", root)
    files = sorted({block.file for block in EXAMPLES})
    for command in (["check"], ["format", "--check"]):
        done = python(root, "-m", "ruff", *command, "--no-cache", *files)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_task_is_trained_scored_and_reported(extended: Extended) -> None:
    *_, last = (json.loads(line) for line in (extended.output / "metrics.jsonl").read_text("utf-8").splitlines())
    tasks, modules = last["choose"]["tasks"], last["choose"]["modules"]
    assert tasks["care"]["count"] > 0 and isinstance(tasks["care"]["r2"], float)
    assert tasks["stance"]["count"] > 0 and isinstance(tasks["stance"]["kl"], float)
    there = {"heads.care", "neural_analyzers.care", "advanced_wrappers.care", "heads.stance"}
    assert there <= modules.keys() and "neural_analyzers.stance" not in modules
    moved = last["update"]["modules"]
    assert all(moved[module]["relative"] > 0 for module in there)
    (first, *_) = extended.json("crossover/candidates.json")["candidates"]
    assert {"care", "stance"} <= first["scores"]["test"]["tasks"].keys()
    assert {"skill_care", "skill_stance"} <= extended.json("plots/training_curves.json").keys()
    page = (extended.output / "report" / "report.html").read_text("utf-8")
    assert (
        "<strong>care</strong>" in page
        and "<code>neural_analyzers.care</code>" in page
        and "<strong>stance</strong>" in page
    )


def test_a_task_is_predicted_under_the_name_of_its_field(extended: Extended) -> None:
    code = (
        "import json; from redheart.data import Situation; from redheart.prediction.formatting import as_json\n"
        "from redheart.prediction.predictor import Prediction; from redheart.tasks import TASKS\n"
        "values = {task.name: [0.5] * len(task.dimensions) for task in TASKS}\n"
        "print(as_json(Prediction(Situation(id='a', text='t'), values)))"
    )
    done = extended.python("-c", code)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["care_score"] == {"care": 0.5} and list(said["stance"]) == ["kind", "indifferent", "cruel"]


def test_a_wrong_annotation_of_a_further_task_is_refused_by_its_field(extended: Extended) -> None:
    code = (
        "from redheart.data.validation import ItemCheck\n"
        "check = ItemCheck({'id': 'a', 'text': 't', 'care_score': 2.0, 'stance': {'kindly': 1}})\n"
        "print([problem.field for problem in check.problems])"
    )
    assert extended.python("-c", code).stdout == "['care_score', 'stance.kindly']\n"


def test_a_technique_votes_and_stands_in_the_report_and_the_plots(extended: Extended) -> None:
    choices = extended.json("sweet_spot_analysis/sweet_spot_analysis.json")["choices"]
    votes = {module: choice["techniques"]["lowest_loss"] for module, choice in choices.items()}
    assert all(vote["epoch"] in (1, 2) and vote["confidence"] == 0.1 for vote in votes.values())
    assert list(choices["backbone"]["techniques"])[-2:] == ["lowest_loss", "voting"]
    report = (extended.output / "sweet_spot_analysis" / "sweet_spot_report.md").read_text("utf-8")
    assert "| gradient | lowest loss | note |" in report and "has the lowest loss" in report
    assert "**lowest loss**: The epoch with the lowest loss." in report


def test_a_candidate_is_scored_beside_the_others(extended: Extended) -> None:
    candidates = {one["name"]: one for one in extended.json("crossover/candidates.json")["candidates"]}
    assert list(candidates)[-2:] == ["best_and_last", "random_1"]
    assert candidates["best_and_last"]["scores"].keys() == {"judge", "test"}
    assert candidates["random_1"]["is_control"] and not candidates["best_and_last"]["is_control"]
    assert "average of the best and the last epoch" in (extended.output / "report" / "report.html").read_text("utf-8")


def test_a_callback_is_told_of_every_step(extended: Extended) -> None:
    seconds = extended.json("step_seconds.json")
    lines = (extended.output / "metrics.jsonl").read_text("utf-8").splitlines()
    epochs = [record for record in map(json.loads, lines) if "epoch" in record]
    assert list(seconds) == ["1", "2"] and sum(map(len, seconds.values())) == epochs[-1]["global_step"]
    for record in epochs:
        of_steps = seconds[str(record["epoch"])]
        assert min(of_steps) > 0 and sum(of_steps) <= record["seconds"], "from the step's beginning to its end"


def test_a_command_is_helped_with_and_runs(extended: Extended) -> None:
    assert [line.split()[0] for line in extended.said.splitlines()][-2:] == ["1", "2"]
    helped = extended.python("-m", "redheart", "epochs", "--help")
    assert helped.returncode == 0 and "--last" in helped.stdout and "--output" in helped.stdout
    assert "List the checkpoints" in extended.python("-m", "redheart", "--help").stdout
    code = "import sys, redheart.cli.parser; print({'torch', 'numpy'} & set(sys.modules))"
    assert extended.python("-c", code).stdout == "set()\n"
    nothing = extended.python("-m", "redheart", "epochs", "--output", "nowhere")
    assert nothing.returncode == 6 and "no checkpoint of an epoch" in nothing.stderr
