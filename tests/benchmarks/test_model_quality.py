"""The benchmark of quality: nothing that is tested was trained on, its measures are the usual ones, its result is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.model_quality import RESULT
from benchmarks.quality_runs import FOLDS, Run, Source, divide
from benchmarks.quality_scores import (
    NUMBERS,
    Predictions,
    Truth,
    _interval,
    auc_of_wrong,
    compare,
    kl_of_emotions,
    log_loss_of_label,
    r2_of,
)
from redheart.tasks import TASK_BY_NAME, TASKS
from tests.training.small_data import embedded_items, write_embedded


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """80 annotated situations, and 60 others with votes alone of which 20 are tested."""
    voted = []
    for number, item in enumerate(embedded_items(60)):
        kept = ("text", "label", "label_scores", "embedding", "embedding_kinds")
        voted.append({"id": f"voted-{number}", **{key: item[key] for key in kept if key in item}})
        voted[-1]["text"] += " (another)"
    (tmp_path / "votes").mkdir()
    annotated, votes = write_embedded(tmp_path), write_embedded(tmp_path / "votes", voted)
    return Source(str(annotated), str(votes), 20)


def test_what_is_tested_is_trained_on_nowhere_and_every_situation_is_tested_once(source: Source) -> None:
    tested: list[int] = []
    for fold in range(FOLDS):
        division = divide(source, Run("both", "tiny", fold))
        tests = np.concatenate(list(division.tests.values()))
        assert not set(tests) & set(division.train)
        assert set(division.validation) <= set(division.train) and len(division.validation)
        assert len(division.tests["votes"]) == 20
        tested += division.tests["annotated"].tolist()
    assert sorted(tested) == list(range(80))


def test_both_leaves_the_same_situations_out_as_either_alone(source: Source) -> None:
    def ids(section: str, test: str) -> list[str]:
        division = divide(source, Run(section, "tiny", 2))
        return [division.table.ids[index] for index in division.tests[test]]

    assert ids("both", "annotated") == ids("annotated", "annotated")
    assert ids("both", "votes") == ids("votes", "votes")


def test_a_smaller_fraction_is_a_part_of_a_larger_one_and_leaves_the_tested_alone(source: Source) -> None:
    whole, half = (divide(source, Run("annotated", "tiny", 0, 0, fraction)) for fraction in (1.0, 0.5))
    assert set(half.train) < set(whole.train)
    assert np.array_equal(half.tests["annotated"], whole.tests["annotated"])


def _truth(count: int = 300) -> Truth:
    generator = np.random.default_rng(0)
    targets = {
        task.name: generator.dirichlet(np.ones(len(task.dimensions)), count)
        if task.is_distribution
        else generator.random((count, len(task.dimensions)))
        for task in TASKS
    }
    targets["votes"] = targets["verdict"]
    masks = {name: np.ones(values.shape, bool) for name, values in targets.items()}
    base = {name: np.tile(values.mean(axis=0), (count, 1)) for name, values in targets.items()}
    return Truth(targets, masks, base)


def test_measures_are_scikit_learns() -> None:
    from sklearn.metrics import log_loss, r2_score, roc_auc_score

    truth = _truth()
    everything = np.arange(300)
    said = {name: 0.5 * values + 0.5 * truth.base[name] ** 2 for name, values in _truth(300).targets.items()}
    said = {name: np.random.default_rng(1).permutation(values) * 0.3 + values * 0.7 for name, values in said.items()}
    for task in TASKS:
        if task.is_distribution:
            said[task.name] = said[task.name] / said[task.name].sum(axis=1, keepdims=True)
    names = TASK_BY_NAME["verdict"].dimensions
    wrong, right = [names.index("AUTHOR"), names.index("EVERYBODY")], [names.index("OTHER"), names.index("NOBODY")]
    votes, q = truth.targets["votes"], said["verdict"]
    score = q[:, wrong].sum(1) / q[:, wrong + right].sum(1)
    is_wrong = votes[:, wrong].sum(1) > votes[:, right].sum(1)
    assert auc_of_wrong(said, truth, everything) == pytest.approx(roc_auc_score(is_wrong, score))
    label = votes.argmax(axis=1)
    assert log_loss_of_label(said, truth, everything) == pytest.approx(log_loss(label, q, labels=range(5)))
    expected = np.mean([r2_score(truth.targets["surd"][:, j], said["surd"][:, j]) for j in range(4)])
    assert r2_of("surd")(said, truth, everything) == pytest.approx(expected)
    assert r2_of(*NUMBERS)(truth.base, truth, everything) == pytest.approx(0.0)
    assert kl_of_emotions(truth.targets, truth, everything) == pytest.approx(0.0, abs=1e-9)


def test_a_difference_is_paired_and_says_who_is_better() -> None:
    truth = _truth()
    noise = np.random.default_rng(2).normal(0, 0.3, (300, 4))
    much, more = truth.targets["surd"] + noise, truth.targets["surd"] + 0.95 * noise
    said = {
        "baseline": Predictions({"surd": much[None]}),
        "model": Predictions({"surd": np.stack([more, more])}),
        "same": Predictions({"surd": much[None]}),
    }
    rows = compare({"R²": (r2_of("surd"), True)}, said, truth, ["baseline"])["R²"]
    assert rows["model"]["minus baseline"]["better"] is True
    # Each alone is far less certain than their difference.
    width = rows["model"]["high"] - rows["model"]["low"]
    assert rows["model"]["minus baseline"]["high"] - rows["model"]["minus baseline"]["low"] < width / 3
    assert rows["same"]["minus baseline"] == {"value": 0.0, "low": 0.0, "high": 0.0, "better": None}


def test_seeds_that_differ_widen_the_interval_by_students_t() -> None:
    """Without situations to vary, it is the interval of a mean of five."""
    from scipy.stats import t

    seeds = [0.1, 0.2, 0.4, 0.3, 0.2]
    low, high = _interval(0.24, np.full(50, 0.24), (seeds,))
    wanted = t.interval(0.95, 4, loc=0.24, scale=np.std(seeds, ddof=1) / 5**0.5)
    assert (low, high) == pytest.approx(wanted)


def test_nobody_is_better_where_a_draw_has_no_score() -> None:
    """Of 300 situations one has the other label: many draws miss it."""
    truth = _truth()
    votes = np.tile([0.0, 1.0, 0.0, 0.0, 0.0], (300, 1))
    votes[0] = [1.0, 0.0, 0.0, 0.0, 0.0]
    truth.targets["votes"] = votes
    generator = np.random.default_rng(3)
    said = {name: Predictions({"verdict": generator.dirichlet(np.ones(5), (1, 300))}) for name in ("baseline", "model")}
    with np.errstate(all="ignore"):
        row = compare({"AUC": (auc_of_wrong, True)}, said, truth, ["baseline"])["AUC"]["model"]
    assert row["minus baseline"]["better"] is None and not np.isfinite(row["high"])


def test_the_stored_result_sets_the_model_beside_constant_and_baseline_with_intervals() -> None:
    stored = json.loads(RESULT.read_text(encoding="utf-8"))
    assert {"date", "machine", "versions", "settings", "tables"} <= set(stored)
    assert stored["tables"]["annotated"]["situations"] == 768
    assert stored["tables"]["votes"]["situations"] == 2000
    for table in stored["tables"].values():
        for ways in table["measures"].values():
            assert {"constant", "baseline"} < set(ways)
            for way, row in ways.items():
                assert row["low"] <= row["value"] <= row["high"]
                assert way in ("constant", "baseline") or {"value", "low", "high", "better"} == set(
                    row["minus baseline"]
                )


def test_the_stored_result_keeps_what_was_promised() -> None:
    """Emotions nearer than the baseline's, numbers no more than 0.02 of R² behind it – both are better –, and the verdict ahead of it."""
    tables = json.loads(RESULT.read_text(encoding="utf-8"))["tables"]
    for table, measure in (
        ("annotated", "emotion KL"),
        ("annotated", "mean R²"),
        ("votes", "AUC wrong/right"),
        ("votes", "label log-loss"),
    ):
        assert tables[table]["measures"][measure]["tiny"]["minus baseline"]["better"] is True, measure


def test_the_page_of_the_model_shows_the_stored_numbers() -> None:
    """Each number with four decimals in the tables of how good the model is."""
    page = (Path(__file__).parents[2] / "docs" / "model.md").read_text(encoding="utf-8")
    section = page.split("## How good it is")[1].split("What this says")[0]
    shown = {
        number for line in section.splitlines() if line.startswith("|") for number in re.findall(r"\d\.\d{4}", line)
    }
    stored = {f"{abs(number):.4f}" for number in _numbers(json.loads(RESULT.read_text(encoding="utf-8"))["tables"])}
    assert len(shown) > 100 and not shown - stored


def test_the_page_of_the_model_shows_the_stored_ablation() -> None:
    root = Path(__file__).parents[2]
    stored = json.loads((root / "benchmarks" / "results" / "ablation.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "model.md").read_text(encoding="utf-8").split("## What each part is worth")[1]
    for row in stored["rows"][1:]:
        cells = []
        for metric in stored["metrics"]:
            worth = row["worth"][metric]
            shown = f"{worth['mean']:+.4f} ± {worth['margin']:.4f}".replace("-", "−")
            cells.append(f"**{shown}**" if worth["is_beyond_noise"] else shown)
        assert " | ".join(cells) in page, row["variant"]


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict | list):
        for one in content.values() if isinstance(content, dict) else content:
            yield from _numbers(one)
    elif isinstance(content, float):
        yield content
