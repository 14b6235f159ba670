"""The page says what happened, all of it and nothing else, and needs nothing but itself."""

from __future__ import annotations

import json
import platform
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from redheart.embedding.language.reading import Reading
from redheart.embedding.language.stored import store_reading
from redheart.errors import Interrupted, StorageError
from redheart.facts.launches import LaunchEvent, note_launch
from redheart.facts.memory import OomEvent, read_oom_stats
from redheart.messages import set_language
from redheart.paths import OutputPaths
from redheart.report import build_report
from redheart.storage import write_json
from redheart.tasks import MODULES, TASKS
from tests.crossover.small_run import small_table, train
from tests.report.conftest import CONFIG, finish

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects what the page refers to and says; complains about elements that don't nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.spoken: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", " ".join(self.spoken))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), f"<{tag} {name}> runs code"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.spoken.append(data)


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_is_self_contained(output: Path) -> None:
    source = build_report(CONFIG, output).read_text(encoding="utf-8")
    page = Page(source)
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in page.references)
    assert not re.search(r"url\(|@import|https?://", source)
    assert not {"script", "iframe", "object", "embed", "link"} & set(page.tags)
    anchors = {one[1:] for one in page.references if one.startswith("#")}
    assert anchors and anchors <= set(page.ids)
    assert sum(one.startswith("data:") for one in page.references) == 6 + 1


def test_what_comes_from_files_is_escaped(output: Path) -> None:
    source = build_report(CONFIG, output).read_text(encoding="utf-8")
    assert "<b>mine" not in source and "&lt;b&gt;mine&lt;/b&gt;" in source
    assert "<script" not in source and "&lt;script&gt;boom" in source


def test_what_memory_did_to_a_run_is_told_with_step_process_phase_and_strategies(output: Path) -> None:
    assert "ZeRO-2 →" not in build_report(CONFIG, output).read_text(encoding="utf-8")
    event = OomEvent(
        time="t",
        epoch=3,
        global_step=41,
        micro_batch_size=8,
        smaller_micro_batch_size=4,
        message="no room",
        rank=1,
        phase="backward",
        tried="the same again",
        host_bytes_before=3 << 30,
        host_bytes_after=1 << 30,
    )
    stats = msgspec.structs.replace(read_oom_stats(output), events=[event])
    write_json(output / "oom_stats" / "oom_stats.json", stats)
    for next_strategy, is_again in (("plain", True), (None, False)):
        launch = LaunchEvent(
            time="t",
            cause="out_of_memory",
            rank=1,
            message="<i>no room</i>",
            is_again=is_again,
            processes=2,
            step=41,
            micro_batch_size=1,
            phase="optimizer",
            strategy="ZeRO-2",
            next_strategy=next_strategy,
            next_micro_batch_size=16 if is_again else None,
        )
        note_launch(output, launch)
    source = build_report(CONFIG, output).read_text(encoding="utf-8")
    for told in ("backward", "the same again", "3.0 GiB → 1.0 GiB", "optimizer", "ZeRO-2 → plain", "1 → 16", "1 → –"):
        assert told in source, told
    assert "<i>no" not in source
    (output / "oom_stats" / "launches.json").write_text("{")
    build_report(CONFIG, output)
    assert json.loads((output / "report" / "report.json").read_text())["launches"]["status"] == "damaged"


def test_the_page_names_winner_interval_probability_tasks_modules_and_controls(output: Path) -> None:
    page = read(build_report(CONFIG, output))
    facts = json.loads((output / "report" / "report.json").read_text())
    assert facts["result"]["sentences"][0] in page.text
    assert re.search(r"\d % interval [+−]", page.text) and "of resamples" in page.text
    for module in MODULES:
        assert module in page.text
    for task in TASKS:
        row = next(row for row in facts["result"]["tasks"] if row["task"] == task.name)
        for split in ("judge", "test"):
            assert row[split]["low"] < row[split]["skill"] < row[split]["high"]
            assert f"{row[split]['skill']:+.3f}".replace("-", "−") in page.text
    for candidate in facts["result"]["candidates"]:
        assert candidate["label"] in page.text
    assert "random crossover 1" in page.text and "5.6e-05" in page.text and "Times that memory ran out: 1" in page.text


def test_a_choice_that_is_not_the_free_one_says_which_that_was_and_the_others_say_nothing(output: Path) -> None:
    path = OutputPaths(output).analysis
    analysis = json.loads(path.read_text())
    analysis["choices"]["phases"]["not_kept"] = 3
    path.write_text(json.dumps(analysis))
    page = read(build_report(CONFIG, output))
    assert page.text.count("would be 3, not kept") == page.text.count("not kept") == 1


def test_a_task_whose_targets_are_all_alike_has_no_skill_and_the_reason(output: Path) -> None:
    path = OutputPaths(output).candidates
    result = json.loads(path.read_text())
    for candidate in result["candidates"]:
        for split in candidate["scores"].values():
            split["tasks"]["emotion"].update(skill=None, low=None, high=None)
    path.write_text(json.dumps(result))
    assert read(build_report(CONFIG, output)).text.count("no skill: targets all alike") == 2


def test_report_json_has_no_nan_and_the_same_facts(output: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    build_report(CONFIG, output)
    facts = json.loads((output / "report" / "report.json").read_text(), parse_constant=refuse)
    assert facts["result"]["status"] == facts["training"]["status"] == facts["sweep"]["status"] == "present"
    assert facts["data"]["counts"]["judge"] > 0 and facts["versions"]["torch"] and facts["config"].startswith("output:")
    assert {"crossover_final.pth", "checkpoints/"} <= {file["path"] for file in facts["files"]}


@pytest.mark.parametrize(("language", "words"), [("ko", "후보 비교"), ("en", "Candidates")])
def test_the_page_is_in_the_language_that_was_asked_for(output: Path, language: str, words: str) -> None:
    set_language(language)  # type: ignore[arg-type]
    source = build_report(CONFIG, output).read_text(encoding="utf-8")
    assert f'<html lang="{language}">' in source and words in source


def test_an_empty_output_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    page = read(build_report(CONFIG, tmp_path / "nothing"))
    for words in ("No crossover was run", "no LR sweep", "no training records", "No sweet spots", "no OOM statistics"):
        assert words in page.text
    assert not any(one.startswith("data:") for one in page.references)


def test_a_dry_run_says_that_nothing_was_learnt_and_nothing_won(tmp_path: Path) -> None:
    table = small_table(tmp_path, 120)
    run = train(tmp_path / "training", table, epochs=2, dry_run=True)
    finish(run.output, table)
    page = read(build_report(CONFIG, run.output))
    assert "dry run: weights did not change" in page.text and "no winner" in page.text
    assert "there is nothing to choose and no winner" in page.text and " wins" not in page.text
    assert "Nothing in these curves is learning" in page.text


@pytest.mark.parametrize(
    ("rate", "worth"),
    [(0.3, "By its last epoch training had made the model worse"), (0.015, "By its last epoch training had helped")],
)
def test_the_start_is_beside_what_training_made_of_it(tmp_path: Path, rate: float, worth: str) -> None:
    table = small_table(tmp_path, 300)
    run = train(tmp_path / "training", table, epochs=2, rate=rate, start=True)
    finish(run.output, table)
    page = read(build_report(CONFIG, run.output))
    facts = json.loads((run.output / "report" / "report.json").read_text())
    assert facts["training"]["epoch"] == [0, 1, 2] and "Epochs: 2;" in page.text
    assert [one["epochs"] for one in facts["result"]["candidates"] if one["name"] == "start"] == [[0]]
    assert "start, before training" in page.text and "The hollow mark is the start" in page.text
    assert worth in page.text
    assert ("no epoch went below it" in page.text) == (facts["training"]["best_epoch"] == 0)


def test_one_epoch_says_that_there_is_nothing_to_compare(tmp_path: Path) -> None:
    table = small_table(tmp_path, 120)
    run = train(tmp_path / "training", table, epochs=1)
    finish(run.output, table)
    page = read(build_report(CONFIG, run.output))
    assert "There is only one epoch" in page.text and "the same weights as last epoch" in page.text
    assert " wins" not in page.text


@pytest.mark.parametrize(
    "name",
    [
        "crossover/candidates.json",
        "lr_sweep_results/optimal_lr.json",
        "oom_stats/oom_stats.json",
        "sweet_spot_analysis/sweet_spot_analysis.json",
        "run.json",
    ],
)
@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"format": 1}'])
def test_a_damaged_file_is_named_on_the_page_or_harmless(output: Path, name: str, content: str) -> None:
    (output / name).write_text(content)
    page = read(build_report(CONFIG, output))
    if content != '{"format": 1}' and name != "run.json":
        assert "A file can't be read" in page.text and name.split("/")[-1] in page.text


def test_damaged_records_are_named_and_the_rest_is_there(output: Path) -> None:
    metrics = output / "metrics.jsonl"
    metrics.write_text("{oops\n" + metrics.read_text())
    page = read(build_report(CONFIG, output))
    assert "line 1 is damaged" in page.text and "Candidates" in page.text


def test_a_dry_run_is_called_one_though_the_record_of_an_epoch_does_not_fit(output: Path) -> None:
    metrics = output / "metrics.jsonl"
    first, *rest = metrics.read_text().splitlines()
    spoiled = json.loads(rest[0]) | {"choose": {"count": "many"}}
    lines = [json.dumps(json.loads(first) | {"dry_run": True}), json.dumps(spoiled), *rest[1:]]
    metrics.write_text("\n".join(lines) + "\n")
    build_report(CONFIG, output)
    facts = json.loads((output / "report" / "report.json").read_text())
    assert facts["dry_run"] and facts["training"]["status"] == "damaged"


def test_a_number_of_a_foreign_sweep_that_is_none_is_left_out(output: Path) -> None:
    path = output / "lr_sweep_results" / "optimal_lr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": float("nan"), "curve": [float("inf"), 1.0]}))
    build_report(CONFIG, output)
    chosen = json.loads((output / "report" / "report.json").read_text())["sweep"]["chosen"]
    assert "accuracy" not in chosen and chosen["curve"] == [None, 1.0] and "optimal_lr" in chosen


def test_a_report_that_can_not_be_written_leaves_the_earlier_one(output: Path) -> None:
    path = build_report(CONFIG, output)
    before = path.read_bytes()
    (output / "report" / "report.json").unlink()
    (output / "report" / "report.json").mkdir()
    with pytest.raises(StorageError, match=r"report\.json"):
        build_report(CONFIG, output)
    assert path.read_bytes() == before


def test_a_picture_that_is_none_is_left_out(output: Path) -> None:
    (output / "lr_sweep_results" / "hierarchical_lr_sweep.png").write_text("<svg onload=x>")
    source = build_report(CONFIG, output).read_text(encoding="utf-8")
    assert source.count("data:image/png") == 5 + 1


def test_the_bundled_sample_is_named_as_such(output: Path) -> None:
    from redheart.data.locate import bundled_sample
    from redheart.storage import read_json, write_json

    if not bundled_sample().exists():
        pytest.skip("this checkout has no bundled sample")
    copy = output / "embeddings" / "situations.embedded.json"
    copy.parent.mkdir()
    shutil.copy(bundled_sample(), copy)
    count = len(read_json(copy))
    write_json(output / "run.json", {"dataset": str(copy), "counts": {"train": count}})
    items = read_json(copy)
    write_json(copy, [{**item, "embedding_key": "k"} for item in items])
    assert "bundled sample" in read(build_report(CONFIG, output)).text
    for other in (items[:-1], [{**items[0], "text": "Another story under the same id."}, *items[1:]]):
        write_json(copy, other)
        assert "bundled sample" not in read(build_report(CONFIG, output)).text


def test_what_the_encoder_could_not_read_of_the_runs_dataset_is_said(output: Path, tmp_path: Path) -> None:
    run = {**json.loads((output / "run.json").read_text()), "dataset": str(tmp_path / "mine.embedded.json")}
    (output / "run.json").write_text(json.dumps({**run, "identity": {"dataset": "d1"}}))
    store_reading(tmp_path, "d1", Reading("m", 10, 4, "<i>x</i>"))
    (tmp_path / "mine.vectors").mkdir()
    (tmp_path / "language.json").rename(tmp_path / "mine.vectors" / "language.json")
    page = Page(build_report(CONFIG, output).read_text(encoding="utf-8"))
    said = "can't read the language of 4 of 10 stories looked at (40 %; first: <i>x</i>)"
    assert page.text.count(said) == 1
    assert page.text.index(said) < page.text.index(
        json.loads((output / "report" / "report.json").read_text())["result"]["sentences"][0]
    )
    (output / "run.json").write_text(json.dumps({**run, "identity": {"dataset": "another"}}))
    assert "can't read" not in Page(build_report(CONFIG, output).read_text(encoding="utf-8")).text


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
def test_a_stop_leaves_the_earlier_report(output: Path, moment: int) -> None:
    files = [build_report(CONFIG, output), output / "report" / "report.json"]
    before = [path.read_bytes() for path in files]
    (output / "run.json").unlink()  # another report would say so
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == moment

    with pytest.raises(Interrupted, match="same command"):
        build_report(CONFIG, output, should_stop=stop)
    assert asked == moment and [path.read_bytes() for path in files] == before


def test_the_machine_is_described_without_its_kernel(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "9.9.9-build-of-somebody")
    page = read(build_report(CONFIG, output))
    facts = json.loads((output / "report" / "report.json").read_text())
    assert "9.9.9-build" not in page.text and "9.9.9-build" not in json.dumps(facts)
    assert facts["machine"]["system"] == f"{platform.system()} ({platform.machine()})"
    assert facts["machine"]["memory_bytes"] > 0 and "of memory (" in page.text
    if facts["machine"]["cpu"]:
        assert facts["machine"]["cpu"] in page.text


@pytest.mark.parametrize(
    ("language", "words"),
    [("ko", "실제로 제공되는 예측의 손실로 정해지므로"), ("en", "the loss of what is served, so the")],
)
def test_the_page_says_which_loss_decides_what(output: Path, language: str, words: str) -> None:
    set_language(language)  # type: ignore[arg-type]
    assert words in read(build_report(CONFIG, output)).text


def test_the_delivered_model_stands_beside_the_simple_baseline(output: Path) -> None:
    page = read(build_report(CONFIG, output))
    facts = json.loads((output / "report" / "report.json").read_text())["rival"]
    assert facts["status"] == "present"
    for sentence in facts["sentences"]["test"]:
        assert sentence in page.text
    assert "Beside the simple baseline (test)" in page.text and "fitted to the" in page.text
    skill = facts["splits"]["test"]["tasks"]["surd"]["metrics"]["skill"]
    assert f"{skill['difference']['value']:+.3f}".replace("-", "−") in page.text
    assert f"{skill['rival']['value']:+.3f}".replace("-", "−") in page.text
    mae = facts["splits"]["test"]["tasks"]["surd"]["metrics"]["mae"]
    assert f"mean error {mae['model']['value']:.3f} ({mae['rival']['value']:.3f})" in page.text


def test_another_models_comparison_is_not_shown_as_this_ones(output: Path) -> None:
    path = output / "crossover" / "rival.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "identity": "of another model"}))
    page = read(build_report(CONFIG, output))
    assert "skill of the baseline" not in page.text
    assert "was not set beside the simple baseline; `redheart evaluate` does it" in page.text
    path.write_text("torn")
    assert "A file can't be read" in read(build_report(CONFIG, output)).text


@pytest.mark.parametrize(
    "origin, told",
    [
        ({"kind": "given"}, "The learning rate was given."),
        (
            {
                "kind": "given",
                "sweep": "ab-1",
                "differs": [
                    {"name": "epochs", "sweep": 3, "run": 60},
                    {"name": "training.global_batch_size", "sweep": 16, "run": 32},
                ],
            },
            "is the choice of sweep ab-1. That sweep was made with other settings, so its choice need not be the best one here "
            "(the sweep's → these): epochs 3 → 60, training.global_batch_size 16 → 32.",
        ),
    ],
)
def test_what_the_sweep_was_made_with_otherwise_stands_beside_the_learning_rate(
    output: Path, origin: dict, told: str
) -> None:
    run = json.loads((output / "run.json").read_text())
    (output / "run.json").write_text(json.dumps({**run, "rate_origin": origin}))
    assert told in read(build_report(CONFIG, output)).text
    assert json.loads((output / "report" / "report.json").read_text())["run"]["rate_origin"] == origin
