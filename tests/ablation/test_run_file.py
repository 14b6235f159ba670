"""The file of a finished run: the form that earlier versions wrote, read and written again to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redheart import errors
from redheart.ablation.run import read_run, write_run
from redheart.ablation.worker import Outcome
from redheart.errors import StorageError, TrainingError

RUN = {
    "identity": "0123456789abcdef",
    "variant": "phases",
    "without": ["phases"],
    "seed": 1,
    "epoch": 2,
    "curve": [
        {"epoch": 0, "heads_loss": 1.25, "mean_skill": -1e-05},
        {"epoch": 1, "heads_loss": 1.0, "mean_skill": None},
    ],
    "judge_count": 2,
    "predictions": {"regret": [[0.5], [1e-07]], "verdict": [[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]]},
    "seconds": 12.5,
}


def test_a_run_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "phases_seed1.json"
    path.write_text(json.dumps(RUN) + "\n")
    run = read_run(path, RUN["identity"])
    assert run is not None
    assert (run.variant, run.epoch, run.curve[1].mean_skill, run.predictions["regret"]) == (
        "phases",
        2,
        None,
        [[0.5], [1e-07]],
    )
    write_run(tmp_path / "again.json", run)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_run_of_another_identity_is_none_of_ours_whatever_its_form(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert read_run(path, "a") is None
    for content in ({"identity": "b"}, {"epoch": 1}, {**RUN, "curve": "none"}):
        path.write_text(json.dumps(content))
        assert read_run(path, "a") is None


def test_a_run_on_other_texts_is_none_of_ours_and_one_of_before_counts_for_any(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**RUN, "texts": "then"}))
    assert read_run(path, RUN["identity"], texts="now") is None
    assert read_run(path, RUN["identity"], texts="then") is not None
    path.write_text(json.dumps(RUN))
    assert read_run(path, RUN["identity"], texts="now") is not None


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("[]", r"found \[\], wanted a mapping"),
        ('{"identity": "a", "variant": "whole"}', "without: found nothing"),
        ('{"identity": "a', "damaged, not valid JSON"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, content: str, wrong: str) -> None:
    path = tmp_path / "whole_seed0.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=rf"whole_seed0\.json: {wrong}"):
        read_run(path, "a")


def test_a_workers_error_is_the_same_error_to_its_parent() -> None:
    error = Outcome("TrainingError", "it diverged").to_error()
    assert type(error) is TrainingError and str(error) == "it diverged" and error.exit_code == 5
    assert Outcome().to_error() is None
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RedHeartError)
    ]
    assert len(kinds) > 5
    for kind in kinds:
        again = Outcome(kind.__name__, "why").to_error()
        assert type(again) is kind and str(again) == "why"
