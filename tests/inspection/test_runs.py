"""Runs as they are found, shown and set side by side, whatever is damaged or missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redheart.inspection.run_details import Epoch, thinned
from redheart.inspection.runs import open_run, summary_of
from redheart.inspection.text_table import ranges, shown_width, wrapped
from redheart.paths import OutputPaths
from redheart.training.records import read_records
from tests.inspection.conftest import Said
from tests.other_user import as_another_user, let_others_reach

Command = Callable[..., Said]


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def listed(redheart: Command, *folders: object) -> dict[str, dict[str, Any]]:
    said = redheart("runs", "ls", "--json", *folders)
    assert said.code == 0, said.err
    return {one["path"]: one for one in json.loads(said.out)}


def test_runs_are_found_below_folders_and_in_previous(
    runs: Path, redheart: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    Path("training/previous").mkdir()
    Path("interrupted").rename("training/previous/20260101_000000")
    found = listed(redheart)
    assert list(found) == ["training", "training/previous/20260101_000000"]
    whole, stopped = found.values()
    assert (whole["epochs_done"], whole["epochs"], whole["finished"], whole["preset"]) == (3, 3, True, "tiny")
    assert (stopped["epochs_done"], stopped["epochs"], stopped["finished"]) == (1, 3, False)
    losses = [one.choose.loss for one in read_records(Path("training/metrics.jsonl")).epochs.values() if one.choose]
    assert whole["best_epoch"] == 0 and whole["loss"] < min(x for x in losses if x is not None)
    result = json.loads(OutputPaths("training").candidates.read_text())
    test = next(one for one in result["candidates"] if one["name"] == result["delivered"])["scores"]["test"]
    assert whole["test_skill"] == test["mean_skill"] and stopped["test_skill"] is None
    assert list(listed(redheart, "training", ".", Path.cwd())) == list(found), "each once"
    assert list(listed(redheart, "training/previous")) == ["training/previous/20260101_000000"]


def test_the_size_of_a_run_leaves_out_what_runs_share(runs: Path) -> None:
    before = summary_of(open_run(runs / "training")).bytes
    (runs / "training" / "lr_sweep_results" / "more").write_bytes(bytes(1000))
    shutil.copytree(runs / "interrupted", runs / "training" / "previous" / "one")
    assert summary_of(open_run(runs / "training")).bytes == before
    (runs / "training" / "checkpoints" / "more").write_bytes(bytes(1000))
    assert summary_of(open_run(runs / "training")).bytes == before + 1000


def test_without_a_crossover_an_evaluation_of_the_delivered_model_tells_the_test_skill(runs: Path) -> None:
    output = runs / "training"
    shutil.rmtree(OutputPaths(output).crossover)
    file = OutputPaths(output).evaluation / "best_model_test.json"
    assert summary_of(open_run(output)).test_skill == json.loads(file.read_text())["mean_skill"] is not None
    change(file, weights="of another model")
    assert summary_of(open_run(output)).test_skill is None


@pytest.mark.parametrize(
    ("file", "kept"),
    [
        ("run.json", {"epochs_done": 3, "preset": "tiny", "epochs": 3, "best_epoch": 0}),
        ("metrics.jsonl", {"epochs_done": 3, "preset": "tiny", "finished": True, "best_epoch": 0}),
        ("config.yaml", {"epochs_done": 3, "epochs": 3, "finished": True}),
        ("crossover/candidates.json", {"epochs_done": 3, "finished": True, "best_epoch": 0}),
        ("sweet_spot_analysis/sweet_spot_analysis.json", {"epochs_done": 3, "finished": True}),
        ("evaluation/best_model_test.json", {"epochs_done": 3, "finished": True}),
        ("best_model/manifest.json", {"epochs_done": 3, "finished": True}),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    runs: Path, redheart: Command, file: str, kept: dict[str, Any]
) -> None:
    (runs / "training" / file).write_text('[{"a: \n{"\n')
    found = listed(redheart, runs)
    damaged = found[str(runs / "training")]
    assert {name: damaged[name] for name in kept} == kept
    (fault,) = damaged["faults"]
    assert fault.startswith(str(runs / "training" / file))
    assert found[str(runs / "interrupted")]["faults"] == []
    for words in (["ls", runs], ["show", runs / "training"], ["compare", runs / "interrupted", runs / "training"]):
        said = redheart("runs", *words)
        assert said.code == 0 and f"⚠️ {fault}" in said.out and "DAMAGED" in said.out


def test_a_run_is_shown_in_full(runs: Path, redheart: Command) -> None:
    said = redheart("runs", "show", "--json", runs / "training")
    told = json.loads(said.out)
    settings = {one["name"]: (one["value"], one["default"]) for one in told["settings"]}
    assert settings["training.epochs"] == (3, 60) and settings["training.learning_rate"] == (0.0032, None)
    assert "training.weight_decay" not in settings and "output" not in settings
    assert (told["engine"], told["device"], told["world_size"], told["counts"]["test"]) == ("plain", "cpu", 1, 5)
    assert [one["epoch"] for one in told["epochs"]] == [0, 1, 2, 3] and told["seconds"] > 0
    assert told["chosen"]["backbone"] == 3 and told["verdict"]["delivered"] == "last"
    assert told["verdict"]["scores"]["test"]["count"] == 5 and told["evaluations"][0]["split"] == "test"
    assert "checkpoints/" in {one["name"] for one in told["files"]}
    text = redheart("runs", "show", runs / "training").out
    for part in (
        "training.epochs",
        "lowest loss",
        "No clear winner",
        "best_model_test.json",
        "heads.surd, dsp_simulator",
    ):
        assert part in text
    assert "heads.surd" not in redheart("runs", "show", runs / "interrupted").out, (
        "what there is nothing of is left out"
    )


@pytest.mark.parametrize("language", ["ko", "en"])
def test_what_is_told_fits_a_hundred_columns_in_both_languages(
    runs: Path, redheart: Command, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    for words in (["ls"], ["show", "training"], ["compare", "training", "interrupted"]):
        said = redheart("runs", *words, "--lang", language)
        lines = [line for line in said.out.splitlines() if "stories.embedded.json" not in line]
        assert max(map(shown_width, lines)) <= 100, words
        assert ("설정" in said.out) == (language == "ko" and words != ["ls"])


def test_what_another_user_may_not_read_is_named_and_the_rest_is_shown(runs: Path) -> None:
    let_others_reach(runs)
    for path in runs.rglob("*"):
        path.chmod(0o755)
    output = runs / "training"
    assert summary_of(open_run(output)).faults == (), "all is imported"
    for closed in ("best_model", "checkpoints", "evaluation"):
        (output / closed).chmod(0o700)
    (output / "metrics.jsonl").chmod(0o600)
    found = as_another_user(lambda: msgspec.json.encode(summary_of(open_run(output))).decode())
    told = json.loads(found)
    assert told["finished"] and told["preset"] == "tiny" and told["test_skill"] is not None
    named = {fault.partition(": ")[0] for fault in told["faults"]}
    assert str(output / "metrics.jsonl") in named and str(output / "best_model" / "manifest.json") in named


def test_a_run_that_another_user_keeps_closed_is_not_said_to_be_none(runs: Path, redheart: Command) -> None:
    let_others_reach(runs)
    assert redheart("runs", "ls", runs).code == 0, "all is imported"
    (runs / "training").chmod(0o700)

    def said(*words: object) -> str:
        told = redheart("runs", *words)
        return f"{told.code} {told.err}"

    shown = as_another_user(lambda: said("show", runs / "training"))
    assert (
        shown == f"4 redheart runs: {runs / 'training'}: may not be read by this user; ask its owner for the right to\n"
    )
    listed = as_another_user(lambda: said("ls", runs))
    assert listed.startswith("0 ") and f"{runs / 'training'}: can't be looked into (Permission denied)" in listed


def test_numbers_that_are_not_finite_stand_for_nothing(runs: Path, redheart: Command) -> None:
    path = OutputPaths(runs / "training").metrics
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1] |= {"seconds": float("inf"), "choose": {**lines[1]["choose"], "loss": float("nan")}}
    lines[2]["choose"]["loss"] = float("-inf")
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    told = json.loads(redheart("runs", "show", "--json", runs / "training").out)
    assert told["summary"]["best_epoch"] == 0 and told["seconds"] == sum(line["seconds"] for line in lines[2:])
    assert "loss" not in told["epochs"][1] and "loss" not in told["epochs"][2]
    assert redheart("runs", "show", runs / "training").code == 0


def test_without_its_settings_a_run_is_shown_by_its_identity(runs: Path) -> None:
    (runs / "training" / "config.yaml").unlink()
    run = open_run(runs / "training")
    assert run.settings.source == "run.json" and run.epochs == 3
    assert run.settings.values["model.preset"] == "tiny" and run.settings.values["training.learning_rate"] == 0.0032
    assert not run.settings.knows("sweep.stages") and "dataset" not in run.settings.values


def compared(redheart: Command, *words: object) -> dict[str, Any]:
    said = redheart("runs", "compare", "--json", *words)
    assert said.code == 0, said.err
    return dict(json.loads(said.out))


@pytest.fixture
def two(runs: Path) -> tuple[Path, Path]:
    shutil.copytree(runs / "training", runs / "other")
    return runs / "training", runs / "other"


def test_settings_that_differ_stand_side_by_side_and_those_not_on_record_are_left_open(
    two: tuple[Path, Path], redheart: Command
) -> None:
    one, other = two
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("  stages: 2", "  stages: 4") + "later:\n  setting: 7\n")
    run = json.loads((other / "run.json").read_text())
    run["identity"]["training"]["weight_decay"] = 0.2
    (other / "run.json").write_text(json.dumps(run))
    found = {name["name"]: name["values"] for name in compared(redheart, one, other)["settings"]}
    assert found == {"sweep.stages": [2, 4], "training.weight_decay": [0.05, 0.2], "later.setting": [None, 7]}
    (other / "config.yaml").unlink()
    found = {name["name"]: name["values"] for name in compared(redheart, one, other)["settings"]}
    assert found == {"training.weight_decay": [0.05, 0.2]}, "what only one has on record is no difference"
    assert "training.weight_decay  0.05  0.2" in redheart("runs", "compare", one, other).out


def test_numbers_of_the_same_data_stand_side_by_side(two: tuple[Path, Path], redheart: Command) -> None:
    found = compared(redheart, *two)
    assert found["same_data"] == "same" and found["is_comparable"]
    rows = {(row["split"], row["name"]): row["values"] for row in found["rows"]}
    assert rows["choose", "loss"][0] == pytest.approx(1.6009, abs=1e-3)
    assert rows["test", "count"] == [5, 5] and {"mean", "emotion", "surd"} <= {name for _, name in rows}
    said = redheart("runs", "compare", *two).out
    assert "Some are copies of one run" in said and "Not measured on the same data" not in said


@pytest.mark.parametrize("how", ["identity", "counts", "judged", "unknown"])
def test_numbers_of_different_data_are_never_shown_without_saying_so(
    two: tuple[Path, Path], redheart: Command, how: str
) -> None:
    one, other = two
    run = json.loads((other / "run.json").read_text())
    if how == "identity":
        change(other / "run.json", identity={**run["identity"], "dataset": "another"})
    elif how == "counts":
        change(other / "run.json", counts={**run["counts"], "test": 4})
    elif how == "unknown":
        (other / "run.json").unlink()
    else:
        result = json.loads(OutputPaths(other).candidates.read_text())
        for candidate in result["candidates"]:
            candidate["scores"]["judge"]["count"] = 3
        OutputPaths(other).candidates.write_text(json.dumps(result))
    found = compared(redheart, one, other)
    assert not found["is_comparable"]
    wanted = {"identity": "different", "counts": "different", "judged": "same", "unknown": "unknown"}
    assert found["same_data"] == wanted[how]
    said = redheart("runs", "compare", one, other).out
    assert said.index("Not measured on the same data") < said.index("choose  loss")


def test_the_same_texts_with_other_vectors_are_told_from_other_texts(two: tuple[Path, Path], redheart: Command) -> None:
    one, other = two
    run = json.loads((other / "run.json").read_text())
    change(other / "run.json", identity={**run["identity"], "dataset": "another"})
    sides = {"choose": {"a": "1"}, "judge": {"b": "2"}, "test": {"c": "3"}}
    for folder in two:
        OutputPaths(folder).trained_on.write_text(json.dumps({"splits": sides}))
    assert compared(redheart, one, other)["same_data"] == "texts"
    assert "the same texts in each split" in redheart("runs", "compare", one, other).out
    OutputPaths(other).trained_on.write_text(json.dumps({"splits": {**sides, "test": {"c": "4"}}}))
    assert compared(redheart, one, other)["same_data"] == "different"


def test_what_is_no_run_is_refused(runs: Path, redheart: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("link").symlink_to("training")
    wanted = {
        ("show", "empty"): (6, "empty: found no run (neither run.json nor metrics.jsonl)"),
        ("show", "absent"): (2, "absent: found no such folder, wanted the folder of a run"),
        ("show", "file"): (2, "file: found a file, wanted the folder of a run"),
        ("ls", "empty"): (6, "empty: found no run in or below it"),
        ("ls", "absent"): (2, "absent: found no such folder, wanted a folder to look for runs in"),
        ("ls", ""): (2, "found an empty value"),
        ("compare", "training"): (2, "found 1 run to compare; wanted at least two"),
        ("compare", "training", "training/"): (2, "are the same folder; wanted different runs"),
        ("compare", "training", "link"): (2, "link and training are the same folder"),
        ("compare", "training", "empty"): (6, "empty: found no run"),
    }
    for words, (code, line) in wanted.items():
        said = redheart("runs", *words)
        assert (said.code, said.out) == (code, "") and line in said.err, words
    assert sorted(path.name for path in runs.iterdir()) == ["empty", "file", "interrupted", "link", "training"]


def test_a_long_curve_is_shown_in_short_with_its_best_point() -> None:
    epochs = [Epoch(epoch=number) for number in range(61)]
    shown = [one.epoch for one in thinned(epochs, 12, 37)]
    assert shown[0] == 0 and shown[-1] == 60 and 37 in shown and len(shown) == 13
    assert thinned(epochs[:12], 12, 3) == epochs[:12]


def test_numbers_and_lines_are_put_as_people_read_them() -> None:
    assert ranges([5, 1, 4, 3, 9, 3]) == "1, 3-5, 9"
    lines = wrapped("한국어로 쓴 긴 문장 " * 9, "  ", width=40)
    assert len(lines) > 3 and max(map(shown_width, lines)) <= 40 and all(line.startswith("  ") for line in lines)
    assert wrapped("a" * 50, width=20) == ["a" * 50]


def test_neither_the_list_nor_a_comparison_needs_torch(runs: Path) -> None:
    code = (
        "import sys; from redheart.cli.main import main\n"
        f"assert main(['runs', 'ls', {str(runs)!r}]) == 0\n"
        f"assert main(['runs', 'compare', {str(runs / 'training')!r}, {str(runs / 'interrupted')!r}]) == 0\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
        f"assert main(['runs', 'show', {str(runs / 'training')!r}]) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
