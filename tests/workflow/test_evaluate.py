"""The command ``evaluate``: any checkpoint, any split; which data the baseline is fitted to; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from redheart.checkpoint import list_epochs
from redheart.cli.main import main
from redheart.config import load_config
from redheart.data.splits import split_of
from redheart.messages import set_language
from redheart.storage import read_json, read_lines, write_json
from redheart.training.trainer import Trainer
from tests.training.small_data import embedded_items, write_embedded

FAST = ("report.bootstrap_samples=200", "--lang", "en")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, in a folder of its own beside its data."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    dataset = write_embedded(folder)
    config = load_config(None, ["training.epochs=2", "model.preset=tiny"])
    Trainer(config, dataset, folder / "training", learning_rate=1e-3).run()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A copy that a test may write to, as the current folder."""
    shutil.copytree(trained / "training", tmp_path / "training")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    set_language("ko")


def scored(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["evaluate", "--checkpoint", "training/checkpoints/epoch_0002", "--json", *words, *FAST]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("split", ["train", "choose", "judge", "test"])
def test_every_split_is_scored_with_a_baseline_fitted_to_the_training_split(folder, capsys, split) -> None:
    found = scored(capsys, "--split", split)
    run = read_json(folder / "training" / "run.json")
    assert found["count"] == run["counts"][split] and found["rival"]["trained_on"] == run["counts"]["train"]
    assert found["comparison"]["in_sample"] is (split == "train")
    if split == "train":
        assert found["comparison"]["standing"] is None
    regret = found["comparison"]["tasks"]["regret"]["metrics"]["r2"]
    assert regret["rival"]["value"] > 0.2, "what is written in the vectors is found by a linear model"
    assert regret["difference"]["value"] == pytest.approx(regret["model"]["value"] - regret["rival"]["value"])
    stored = read_json(folder / "training" / "evaluation" / f"epoch_0002_{split}.json")
    assert stored["comparison"] == found["comparison"]


def test_the_start_before_training_is_scored_like_an_epoch(folder, capsys) -> None:
    assert main(["evaluate", "--checkpoint", "training/checkpoints/start", "--json", "--split", "choose", *FAST]) == 0
    found = json.loads(capsys.readouterr().out)
    recorded = read_lines(folder / "training" / "metrics.jsonl")[0]["choose"]
    assert found["loss"] == pytest.approx(recorded["loss"], rel=1e-6) and found["count"] == recorded["count"]


def test_other_data_is_scored_beside_the_baseline_of_the_data_that_trained_the_model(folder, capsys) -> None:
    other = write_embedded(folder, embedded_items(100)[20:])
    found = scored(capsys, "--data", str(other))
    assert found["rival"]["trained_on"] == read_json(folder / "training" / "run.json")["counts"]["train"]
    (folder / "training" / "run.json").unlink()
    alone = scored(capsys, "--data", str(other))
    assert "is not the data that the checkpoint was trained on" in alone["rival"]["absent"]
    assert alone["comparison"]["tasks"]["regret"]["metrics"]["r2"]["rival"] is None
    assert alone["tasks"] == found["tasks"]
    assert scored(capsys, f"data.path={other}") == alone, "named as a setting"


def test_a_checkpoint_that_does_not_fit_is_refused_with_both_shapes(folder, capsys) -> None:
    items = embedded_items()
    for item in items:
        item["embedding"] = [vector[:8] for vector in item["embedding"]]
    narrow = write_embedded(folder, items)
    checkpoint = ["evaluate", "--checkpoint", "training/checkpoints/epoch_0002"]
    assert main([*checkpoint, "--data", str(narrow), *FAST]) == 8
    shown = capsys.readouterr().err
    assert "preset 'tiny' (width 96, 2 layers) for vectors of 16 numbers" in shown and "vectors of 8 numbers" in shown
    assert main([*checkpoint, "--preset", "small", *FAST]) == 9
    shown = capsys.readouterr().err
    assert "preset 'tiny'" in shown and "model.preset=small asks for a width of 384" in shown
    assert not (folder / "training" / "evaluation").exists()


def test_what_is_not_there_is_named_and_not_replaced(folder, capsys) -> None:
    assert main(["evaluate", *FAST]) == 6
    assert "best_model: there is no finished model; run `redheart crossover`" in capsys.readouterr().err
    assert main(["evaluate", "--checkpoint", "nowhere", *FAST]) == 2
    assert "nowhere: found no such file or folder; wanted a checkpoint" in capsys.readouterr().err
    run = folder / "training" / "run.json"
    run.write_text(json.dumps({**read_json(run), "dataset": "gone/data.embedded.json"}))
    assert main(["evaluate", "--checkpoint", "training/checkpoints/epoch_0002", *FAST]) == 2
    shown = capsys.readouterr().err
    assert "gone/data.embedded.json" in shown and "name a dataset with --data" in shown


def test_the_epochs_folder_is_the_model_that_training_scored(folder, capsys) -> None:
    found = scored(capsys, "--split", "choose")
    recorded = list_epochs(folder / "training")[-1].manifest.metrics["choose"]
    assert found["loss"] == pytest.approx(recorded.loss, abs=1e-5)
    assert found["tasks"]["emotion"]["kl"] == pytest.approx(recorded.tasks["emotion"].kl, abs=1e-5)


def edit_into(split: str, items: list[dict], count: int) -> list[str]:
    """Edits the first ``count`` texts of the training split so that they lie in ``split``; their ids."""
    trained = [item for item in items if split_of(item["text"]) == "train"][:count]
    for item in trained:
        edits = (f"{item['text']} Edit {number}: typo." for number in range(1000))
        item["text"] = next(text for text in edits if split_of(text) == split)
    return [item["id"] for item in trained]


@pytest.mark.parametrize("place", ["training", "elsewhere"])
def test_training_texts_that_were_edited_into_the_split_are_not_scored(folder, capsys, place) -> None:
    """Wherever the checkpoint's folder was brought to; the record goes with it."""
    whole = scored(capsys)
    items = embedded_items()
    ids = edit_into("test", items, 3)
    other = write_embedded(folder, items)
    (folder / "training").rename(folder / place)
    words = ["evaluate", "--checkpoint", f"{place}/checkpoints/epoch_0002", "--data", str(other), *FAST]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert f"test 3 (such as {', '.join(ids)})" in shown.err and "before their texts were edited: test 3" in shown.out
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == 3 and whole["left_out"] == 0
    assert found["count"] == whole["count"] and found["tasks"] == whole["tasks"] and found["loss"] == whole["loss"]


def test_where_no_record_is_there_it_is_said_that_nothing_tells(folder, capsys) -> None:
    (folder / "training" / "trained_on.json").unlink()
    items = embedded_items()
    edit_into("test", items, 3)
    other = write_embedded(folder, items)
    assert main(["evaluate", "--checkpoint", "training/checkpoints/epoch_0002", "--data", str(other), *FAST]) == 0
    assert "can't be told: there is no record" in capsys.readouterr().err


def test_numbers_of_the_same_file_edited_do_not_take_the_place_of_the_runs_own(folder, capsys, trained) -> None:
    scored(capsys)
    kept = {path.name for path in (folder / "training" / "evaluation").iterdir()}
    items = embedded_items()
    edit_into("train", items, 1)
    original = (trained / "small.embedded.json").read_text()
    try:
        write_embedded(trained, items)
        scored(capsys)
    finally:
        (trained / "small.embedded.json").write_text(original)
    names = {path.name for path in (folder / "training" / "evaluation").iterdir()}
    assert kept == {"epoch_0002_test.json"} and len(names - kept) == 1, names
    assert read_json(folder / "training" / "evaluation" / "epoch_0002_test.json")["data"] == "small"
    (other,) = names - kept
    edited = read_json(folder / "training" / "evaluation" / other)
    assert edited["data"] == f"small ({other.removesuffix('.json').rpartition('_')[2]})", "a card tells them apart"


@pytest.fixture
def analysed(folder: Path) -> Path:
    """The folder, with a file where the sweet spots are looked for."""
    (folder / "training" / "sweet_spot_analysis").mkdir()
    write_json(folder / "training" / "sweet_spot_analysis" / "sweet_spot_analysis.json", {})
    return folder


def test_a_crossover_is_made_on_the_data_that_is_named(analysed, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        "redheart.crossover.run_crossover", lambda config, output, analysis, table, **_: seen.append(table)
    )
    monkeypatch.setattr("redheart.sweet_spot.load_analysis", lambda _: None)
    assert main(["crossover", "--lang", "en"]) == 0
    other = write_embedded(analysed, embedded_items(100)[20:])
    assert main(["crossover", "--data", str(other), "--lang", "en"]) == 0
    assert [table.ids[0] for table in seen] == [embedded_items(100)[index]["id"] for index in (0, 20)]


def test_a_crossover_takes_no_other_data_in_silence(analysed, capsys) -> None:
    run = read_json(analysed / "training" / "run.json")
    write_json(analysed / "training" / "run.json", {**run, "dataset": "gone.embedded.json"})
    assert main(["crossover", "--lang", "en"]) == 2
    assert "gone.embedded.json" in (shown := capsys.readouterr().err) and "--data" in shown


def test_a_dataset_that_was_edited_and_not_embedded_again_is_told_of(folder, capsys, monkeypatch) -> None:
    assert main(["evaluate", "--checkpoint", "training/checkpoints/epoch_0002", *FAST]) == 0
    assert "has changed since it was embedded" not in capsys.readouterr().err
    monkeypatch.setattr("redheart.embedding.open_dataset.changed_source", lambda path: Path("stories.json"))
    assert main(["evaluate", "--checkpoint", "training/checkpoints/epoch_0002", *FAST]) == 0
    shown = capsys.readouterr().err
    assert "stories.json has changed since it was embedded" in shown and "--data stories.json takes it" in shown


def test_a_run_that_may_not_be_written_is_evaluated_and_left_as_it_is(folder, capsys) -> None:
    """Another user's, or one on a read-only mount. That its owner took the right away counts for root too."""
    words = ("--checkpoint", "training/checkpoints/epoch_0002", "--json", *FAST)
    wanted = scored(capsys)
    shutil.rmtree(folder / "training" / "evaluation")
    (folder / "training" / "redheart.log").unlink()
    before = sorted(folder.rglob("*"))
    (folder / "training").chmod(0o555)
    try:
        assert main(["evaluate", *words]) == 0
    finally:
        (folder / "training").chmod(0o755)
    shown = capsys.readouterr()
    assert json.loads(shown.out) == wanted
    assert shown.err.count("so there is no log file") == 1
    assert shown.err.count("so the numbers are printed and not stored") == 1
    assert sorted(folder.rglob("*")) == before


def test_what_another_users_rights_refuse_is_one_line(folder, capsys, monkeypatch) -> None:
    """As root is stopped by nobody's rights, the refusal is made."""

    def refuse(path: Path, *_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    for command in (["evaluate"], ["predict", "I lied."]):
        assert main([*command, "--checkpoint", "training/checkpoints/epoch_0002", "--lang", "en"]) == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert (
            line.startswith(f"redheart {command[0]}: training/checkpoints/epoch_0002") and "Permission denied" in line
        )
