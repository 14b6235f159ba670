"""An ablation finds what was planted, reads only what it may, and goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from redheart.ablation import AblationResult, as_table, run_ablation
from redheart.ablation.ablation import check_begins_anew
from redheart.ablation.run import Ablator, BestEpoch, resolve
from redheart.ablation.variants import LABELS, VARIANTS, builder, shapes
from redheart.cli.main import main
from redheart.config import load_config, with_settings
from redheart.data.splits import split_of
from redheart.errors import ConfigError, Interrupted, StorageError, TrainingError
from redheart.model import TargetStatistics, dimensions
from redheart.model.losses import TERMS
from redheart.model.modules.kalman import KalmanFilter
from redheart.model.presets import PRESETS
from redheart.tasks import GROUPS, TASKS
from redheart.training.trial import TrialRunner

pytestmark = pytest.mark.usefixtures("small_preset")
SETTINGS = ("ablation.seeds=2", "ablation.epochs=1", "ablation.workers=1", "training.global_batch_size=64")
RATE = 5e-3


def ablate(dataset: Path, output: Path, *overrides: str, **asked: Any) -> AblationResult:
    config = load_config(None, ["model.dropout=0", *SETTINGS, *overrides])
    return run_ablation(config, dataset, output, learning_rate=asked.pop("learning_rate", RATE), **asked)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the runs that were really trained."""
    seen: list[int] = []
    original = TrialRunner.run

    def spy(self: TrialRunner, **asked: Any) -> Any:
        seen.append(asked["seed"])
        return original(self, **asked)

    monkeypatch.setattr(TrialRunner, "run", spy)
    return seen


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((output / "ablation" / "runs").iterdir())}


@pytest.mark.slow
def test_a_planted_vital_part_is_vital_and_a_planted_worthless_one_worth_nothing(
    ordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regret lies in the order of segments, which only the backbone knows; and kalman_filter gives nothing but zeros."""
    original = KalmanFilter.forward

    def mute(self: KalmanFilter, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features, prediction = original(self, hidden, mask)
        return 0.0 * features, 0.0 * prediction

    monkeypatch.setattr(KalmanFilter, "forward", mute)
    overrides = ("ablation.seeds=3", "ablation.epochs=8", "training.global_batch_size=16")
    result = ablate(ordered, tmp_path, *overrides, variants=("backbone", "kalman_filter"), learning_rate=4e-3)
    whole, backbone, kalman = result.rows
    assert [row.variant for row in result.rows] == ["whole", "backbone", "kalman_filter"]
    assert min(whole.scores["mean_r2"]) > 0.8 and max(backbone.scores["mean_r2"]) < 0.3
    worth = backbone.worth["mean_r2"]
    assert worth.is_beyond_noise and worth.low > 0.5
    assert backbone.verdict == "worth something: mean R², mean skill"
    assert kalman.verdict == "nothing beyond noise"
    assert all(worth.low <= 0.0 <= worth.high for worth in kalman.worth.values())


def test_all_variants_are_trained_scored_and_shown(ordered: Path, tmp_path: Path) -> None:
    result = ablate(ordered, tmp_path)
    assert [row.variant for row in result.rows] == ["whole", *GROUPS, "radial", "paths", "linear"] == list(VARIANTS)
    whole, *others = result.rows
    for row in others:
        assert row.parameters < whole.parameters
        assert set(row.worth) == {"emotion_kl", "mean_r2", "verdict_log_loss", "mean_skill"}
        for name, worth in row.worth.items():
            sign = -1 if name in ("emotion_kl", "verdict_log_loss") else 1
            differences = [one - other for one, other in zip(whole.scores[name], row.scores[name], strict=True)]
            assert worth.mean == pytest.approx(sign * sum(differences) / 2) and worth.margin > 0
            assert differences != [0.0, 0.0]
    stored = json.loads((tmp_path / "ablation" / "ablation.json").read_text())
    assert stored == json.loads(json.dumps(result.to_json()))
    assert stored["seeds"] == [0, 1] and stored["epochs"] == 1 and stored["preset"] == "tiny"
    assert (tmp_path / "ablation" / "ablation.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    table = as_table(result)
    for row in others[:-1]:
        line = next(line for line in table.splitlines() if line.startswith(LABELS.get(row.variant, row.variant)))
        assert line.endswith(row.verdict) and f"{row.worth['emotion_kl'].mean:+.4f}" in line
    assert len(files(tmp_path)) == 2 * len(VARIANTS)


@pytest.mark.parametrize("rate, chosen", [(1e-3, {1, 2, 3, 4}), (0.03, {0, 1, 2})])
def test_a_runs_scores_are_those_of_its_chosen_epoch_on_judge(
    ordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float, chosen: set[int]
) -> None:
    """The epoch with the lowest loss of the heads on ``choose``, whatever the other terms say."""
    seen: list[dict[str, Any]] = []
    original = TrialRunner.run

    def spy(self: TrialRunner, **asked: Any) -> Any:
        on_epoch = asked["on_epoch"]

        def record(epoch: int, scored: Any, evaluate: Callable[..., Any]) -> None:
            seen.append({"heads": {t.name: scored.terms[f"heads.{t.name}"] for t in TASKS}, "judge": evaluate("judge")})
            on_epoch(epoch, scored, evaluate)

        return original(self, **{**asked, "on_epoch": record})

    monkeypatch.setattr(TrialRunner, "run", spy)
    result = ablate(
        ordered, tmp_path, "ablation.epochs=4", "training.global_batch_size=32", learning_rate=rate, variants=()
    )
    for seed in (0, 1):
        epochs = seen[5 * seed : 5 * seed + 5]  # the start and four
        losses = [sum(epoch["heads"].values()) for epoch in epochs]  # the heads' terms weigh the same
        best = losses.index(min(losses))
        assert result.rows[0].epochs[seed] == best
        judged = epochs[best]["judge"]
        expected = {
            "emotion_kl": judged.tasks["emotion"].kl,
            "mean_r2": judged.tasks["regret"].r2,  # the only regression that these stories have
            "verdict_log_loss": judged.tasks["verdict"].log_loss,
            "mean_skill": judged.mean_skill,
        }
        found = {name: scores[seed] for name, scores in result.rows[0].scores.items()}
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert set(result.rows[0].epochs) <= chosen, "the last is not simply taken, nor the first trained one"


def test_test_decides_nothing_and_judge_only_scores(ordered: Path, tmp_path: Path) -> None:
    items = json.loads(ordered.read_text())
    runs: dict[str, dict[str, Any]] = {}
    for split in ("none", "test", "judge"):
        folder = tmp_path / split
        folder.mkdir()
        for item in items:
            if split_of(item["text"]) == split:
                item["embedding"] = [[2 - number for number in vector] for vector in item["embedding"]]
        dataset = folder / "altered.embedded.json"
        dataset.write_text(json.dumps(items))
        ablate(dataset, folder, variants=())
        runs[split] = json.loads(files(folder)["whole_seed0.json"])
    plain = runs["none"]
    assert runs["test"]["predictions"] == plain["predictions"]
    assert runs["judge"]["predictions"] != plain["predictions"]
    for split in ("test", "judge"):
        assert (runs[split]["curve"], runs[split]["epoch"]) == (plain["curve"], plain["epoch"])


def test_finished_runs_are_kept_and_only_missing_ones_trained(
    ordered: Path, tmp_path: Path, trained: list[int]
) -> None:
    first = ablate(ordered, tmp_path, variants=("phases",))
    before = files(tmp_path)
    assert trained == [0, 0, 1, 1]
    (tmp_path / "ablation" / "runs" / "phases_seed1.json").unlink()
    again = ablate(ordered, tmp_path, variants=("phases",))
    assert trained[4:] == [1] and again.to_json() == first.to_json()
    ablate(ordered, tmp_path, "ablation.seeds=3", variants=("phases",))
    assert trained[5:] == [2, 2]
    assert {name: content for name, content in files(tmp_path).items() if name != "phases_seed1.json"}.items() >= {
        name: content for name, content in before.items() if name != "phases_seed1.json"
    }.items()
    ablate(ordered, tmp_path, variants=("phases",), force=True)
    assert len(trained) == 7 + 4
    # As a run's stored settings ask for it: by what ``auto`` came to.
    said = load_config(None, ["model.dropout=0", *SETTINGS])
    ablate(ordered, tmp_path, "training.precision=no", variants=("phases",), alike=[said])
    assert len(trained) == 7 + 4


def test_what_belongs_to_other_settings_data_or_shapes_is_not_taken(
    ordered: Path, tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(*overrides: str, **asked: Any) -> int:
        before = len(trained)
        ablate(ordered, tmp_path, *overrides, variants=(), **asked)
        return len(trained) - before

    assert count() == 2 and count() == 0
    assert count("report.bootstrap_samples=100", "training.monitor_every=7") == 0, "what does not train changes nothing"
    assert count("seed=1") == 1, "seeds 1 and 2: one of them is there"
    assert count(learning_rate=1e-3) == 2
    assert count("training.weight_decay=0.3") == 2
    wider = replace(PRESETS["tiny"], head_width=40)
    assert count() == 2
    monkeypatch.setitem(PRESETS, "tiny", wider)
    assert count() == 2, "a part that was redesigned is another model"


def test_edited_texts_whose_vectors_a_file_brought_are_trained_again(
    ordered: Path, tmp_path: Path, trained: list[int]
) -> None:
    ablate(ordered, tmp_path, variants=())
    items = json.loads(ordered.read_text())
    items[0]["text"] += " Edit: typo."
    edited = tmp_path / ordered.name
    edited.write_text(json.dumps(items))
    ablate(edited, tmp_path, variants=())
    ablate(edited, tmp_path, variants=())
    assert len(trained) == 2 + 2


def test_asked_to_stop_it_stops_within_a_run_and_goes_on_with_it(
    ordered: Path, tmp_path: Path, trained: list[int]
) -> None:
    with pytest.raises(Interrupted):
        ablate(ordered, tmp_path, variants=("phases",), should_stop=lambda: len(trained) == 2)
    done = files(tmp_path)
    assert list(done) == ["whole_seed0.json"] and len(trained) == 2
    assert not (tmp_path / "ablation" / "ablation.json").exists()
    ablate(ordered, tmp_path, variants=("phases",))
    assert len(trained) == 2 + 3 and files(tmp_path)["whole_seed0.json"] == done["whole_seed0.json"]


def test_a_learning_rate_that_is_too_high_for_a_variant_is_an_error_that_names_it(
    ordered: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"'whole' \(seed 0\) diverged at learning rate 1e\+30.*--lr"):
        ablate(ordered, tmp_path, "training.warmup_fraction=0", learning_rate=1e30)
    assert files(tmp_path) == {} if (tmp_path / "ablation" / "runs").exists() else True


def test_a_damaged_file_is_named(ordered: Path, tmp_path: Path) -> None:
    ablate(ordered, tmp_path, variants=())
    path = tmp_path / "ablation" / "runs" / "whole_seed1.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"whole_seed1\.json: damaged"):
        ablate(ordered, tmp_path, variants=())


def test_all_variants_of_a_seed_see_the_same_batches(
    ordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are compared in pairs: by seed they share the order of the data."""
    from redheart.training import loop

    seen: list[list[int]] = []

    def spy(*arguments: Any, **settings: Any) -> Any:
        order = epoch_order(*arguments, **settings)
        seen.append(order.tolist())
        return order

    epoch_order = loop.epoch_order
    monkeypatch.setattr(loop, "epoch_order", spy)
    ablate(ordered, tmp_path, variants=("heads",))
    runs = [seen[start : start + len(seen) // 4] for start in range(0, len(seen), len(seen) // 4)]
    assert runs[0] == runs[1] and runs[2] == runs[3] and runs[0] != runs[2]


@pytest.mark.parametrize("group", GROUPS)
def test_what_a_variant_shares_with_the_whole_model_starts_as_it_does_there(group: str) -> None:
    """Else a group less would shift the random numbers of all that is built after it."""
    models = []
    for variant in ("whole", group):
        torch.manual_seed(7)
        models.append(builder(variant)(dimensions("tiny"), TargetStatistics.neutral()).state_dict())
    whole, model = models
    same = {name for name in model if name in whole and model[name].shape == whole[name].shape}
    assert all(torch.equal(model[name], whole[name]) for name in same)
    changed = {name for name in model if name not in same}
    # New are a replacement and what reads less than before, and the rest is shared.
    assert {name.split(".")[0] for name in changed} <= {group, "heads", "advanced_wrappers"}
    assert len(same) > 100


def test_the_preset_is_tiny_unless_another_is_asked_for_and_the_whole_training_split_is_used() -> None:
    assert resolve(load_config(None, [])).model.preset == "tiny"
    assert resolve(load_config(None, ["model.preset=small"])).model.preset == "small"
    assert resolve(load_config(None, ["sweep.max_situations=10"])).sweep.max_situations > 10**9
    assert resolve(load_config(None, [])).trial_epochs == 12
    assert resolve(resolve(load_config(None, ["ablation.epochs=30"]))).trial_epochs == 30


def test_the_identity_holds_all_that_decides_a_run(ordered: Path, tmp_path: Path) -> None:
    config = resolve(load_config(None, [*SETTINGS]))
    one = Ablator(config, ordered, tmp_path, RATE)
    assert len({one.identity(variant) for variant in VARIANTS}) == len(VARIANTS)
    assert one.identity("heads") == Ablator(config, ordered, tmp_path / "elsewhere", RATE).identity("heads")
    assert sum(len(shapes(variant, one.runner.dimensions)) for variant in VARIANTS) > 1000


def test_runs_of_before_the_settings_were_resolved_are_taken_for_their_own(
    ordered: Path, tmp_path: Path, trained: list[int]
) -> None:
    ablate(ordered, tmp_path, variants=["linear"])
    assert len(trained) == 4
    asked = load_config(None, ["model.dropout=0", *SETTINGS])
    settled = {"model.preset": "tiny", "training.precision": "no", "training.learning_rate": RATE}
    run_ablation(with_settings(asked, settled), ordered, tmp_path, learning_rate=RATE, asked=asked, variants=["linear"])
    assert len(trained) == 4, "nothing was trained again"


def test_the_variant_without_centres_has_none() -> None:
    model = builder("radial")(dimensions("tiny"), TargetStatistics.neutral())
    assert not [name for name, _ in model.named_parameters() if "radial" in name]


def test_of_equal_epochs_the_first_is_the_best() -> None:
    best = BestEpoch()
    scored: Any = SimpleNamespace(terms={term.name: 1.0 for term in TERMS}, mean_skill=0.1)
    for epoch in (0, 1):
        best.see(epoch, scored, lambda split: scored)
    assert best.epoch == 0


def test_a_start_from_a_checkpoint_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"training\.init_from: found some, wanted null.*training\.init_from=null"):
        check_begins_anew(load_config(None, [*SETTINGS, "training.init_from=some"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("redheart.cli.main._starting_from", lambda asked, **_: asked)
    monkeypatch.setattr("redheart.workflow.datasets.prepare", lambda *_, **__: pytest.fail("embedded"))
    assert main(["ablate", "--lang", "en", "training.init_from=some"]) == 2
    assert "redheart ablate: training.init_from: found some, wanted null" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
