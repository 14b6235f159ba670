"""The stage as a whole: files in, files out, for runs of one epoch to sixty."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweet_spot_records import START, epoch_record, realistic_run, write_records

from redheart.config import Config
from redheart.config.schema import SweetSpotConfig
from redheart.errors import Interrupted, StorageError
from redheart.messages import set_language
from redheart.messages.tables.sweet_spot import MESSAGES
from redheart.paths import OutputPaths
from redheart.sweet_spot import TECHNIQUES, analyze, load_analysis
from redheart.sweet_spot.analysis import render_again
from redheart.tasks import MODULES
from redheart.workflow import stages

CONFIG = SweetSpotConfig()


@pytest.mark.parametrize("count", [1, 2, 3, 8, 60])
def test_every_module_gets_an_epoch_that_is_on_record(tmp_path: Path, count: int) -> None:
    analysis = analyze(realistic_run(tmp_path / "metrics.jsonl", count), tmp_path, CONFIG, plots=False)
    assert analysis.choices is not None and tuple(analysis.choices) == MODULES
    for choice in analysis.choices.values():
        assert choice.epoch in range(1, count + 1)
        assert tuple(choice.techniques) == TECHNIQUES
        assert 0.0 <= choice.confidence <= 1.0
        for vote in choice.techniques.values():
            assert vote.epoch is None or vote.epoch in range(1, count + 1)
            assert 0.0 <= vote.confidence <= 1.0
            assert str(vote.reason)
    assert load_analysis(tmp_path) == analysis


def test_modules_that_peak_at_different_times_get_different_epochs(tmp_path: Path) -> None:
    analysis = analyze(realistic_run(tmp_path / "metrics.jsonl", 60), tmp_path, CONFIG, plots=False)
    assert analysis.choices is not None
    assert analysis.choices["heads.regret"].epoch < 20 < analysis.choices["heads.emotion"].epoch


def test_a_dry_run_has_nothing_to_choose_and_says_so(tmp_path: Path) -> None:
    set_language("en")
    analysis = analyze(realistic_run(tmp_path / "metrics.jsonl", 3, dry_run=True), tmp_path, CONFIG, plots=False)
    assert (analysis.choices, analysis.dry_run, analysis.weights_changed) == (None, True, False)
    folder = tmp_path / "sweet_spot_analysis"
    stored = json.loads((folder / "sweet_spot_analysis.json").read_text())
    assert stored["choices"] is None and "weights did not change" in stored["explanation"]["text"]
    assert "weights did not change" in (folder / "sweet_spot_report.md").read_text()


def test_a_real_run_whose_weights_never_moved_has_nothing_to_choose_either(tmp_path: Path) -> None:
    records = [START, *(epoch_record(epoch, lambda module: (1.0, 0.0), relative=0.0) for epoch in (1, 2))]
    analysis = analyze(write_records(tmp_path / "metrics.jsonl", records), tmp_path, CONFIG, plots=False)
    assert (analysis.choices, analysis.dry_run, analysis.weights_changed) == (None, False, False)
    assert analysis.explanation.key == "sweet_spot.never_changed"


def test_the_report_speaks_the_chosen_language_and_states_the_dependence_of_the_votes(tmp_path: Path) -> None:
    metrics = realistic_run(tmp_path / "metrics.jsonl", 12)
    report = tmp_path / "sweet_spot_analysis" / "sweet_spot_report.md"
    set_language("en")
    analyze(metrics, tmp_path, CONFIG, plots=False)
    assert "not independent votes" in report.read_text()
    set_language("ko")
    analyze(metrics, tmp_path, CONFIG, plots=False)
    assert "독립된 표가 아닙니다" in report.read_text()
    assert all(f"`{module}`" in report.read_text() for module in MODULES)


@pytest.mark.parametrize("stage", ["analyze", "report"])
def test_a_report_of_a_finished_analysis_is_rendered_in_the_language_that_is_asked_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr("redheart.report.build_report", lambda *_, **__: tmp_path)
    for name in ("draw_module", "draw_overview"):
        monkeypatch.setattr(f"redheart.sweet_spot.plots.{name}", lambda *_, **__: None)
    config, paths = Config(output=str(tmp_path)), OutputPaths(tmp_path)
    realistic_run(paths.metrics, 12)
    again = {"analyze": stages.analyze, "report": stages.report}[stage]
    set_language("ko")
    stages.analyze(config)
    stored, korean = paths.analysis.read_bytes(), paths.analysis_text.stat().st_mtime_ns
    again(config)
    assert paths.analysis_text.stat().st_mtime_ns == korean, "it says the same"
    set_language("en")
    again(config)
    assert "not independent votes" in paths.analysis_text.read_text()
    assert paths.analysis.read_bytes() == stored, "what later stages were made from"
    paths.analysis.write_text("{")
    paths.analysis_text.unlink()
    render_again(paths.metrics, tmp_path)
    assert not paths.analysis_text.exists(), "nothing to render"


def test_a_short_run_says_that_tests_have_no_power(tmp_path: Path) -> None:
    set_language("en")
    analyze(realistic_run(tmp_path / "metrics.jsonl", 3), tmp_path, CONFIG, plots=False)
    assert "has no power" in (tmp_path / "sweet_spot_analysis" / "sweet_spot_report.md").read_text()


def test_there_is_a_plot_for_each_module_and_one_for_all(tmp_path: Path) -> None:
    analyze(realistic_run(tmp_path / "metrics.jsonl", 10), tmp_path, CONFIG)
    plots = {path.stem for path in (tmp_path / "sweet_spot_analysis").glob("*.png")}
    assert plots == {*MODULES, "overview"}


def test_the_same_records_give_the_same_analysis(tmp_path: Path) -> None:
    metrics = realistic_run(tmp_path / "metrics.jsonl", 20)
    first = analyze(metrics, tmp_path / "a", CONFIG, plots=False)
    second = analyze(metrics, tmp_path / "b", CONFIG, plots=False)
    assert first == second
    other = analyze(metrics, tmp_path / "c", SweetSpotConfig(significance=0.01), plots=False)
    assert other.inputs != first.inputs


def test_damaged_records_leave_an_earlier_analysis_as_it_was(tmp_path: Path) -> None:
    metrics = realistic_run(tmp_path / "metrics.jsonl", 5)
    before = analyze(metrics, tmp_path, CONFIG, plots=False)
    metrics.write_text("{\n" + metrics.read_text())
    with pytest.raises(StorageError, match="line 1"):
        analyze(metrics, tmp_path, CONFIG, plots=False)
    assert load_analysis(tmp_path) == before


def test_an_analysis_in_the_folder_itself_comes_before_one_of_a_run_below_it(tmp_path: Path) -> None:
    outer = analyze(realistic_run(tmp_path / "metrics.jsonl", 5), tmp_path, CONFIG, plots=False)
    folder = OutputPaths(tmp_path).analysis.parent
    inner = analyze(realistic_run(tmp_path / "longer.jsonl", 6), folder, CONFIG, plots=False)
    assert inner.epochs != outer.epochs and load_analysis(folder) == outer
    assert load_analysis(OutputPaths(tmp_path).analysis) == outer


def test_an_analysis_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sweet_spot_analysis.json"
    path.write_text('{"format": 99}')
    with pytest.raises(StorageError, match="format: found 99, wanted 1"):
        load_analysis(path)
    path.write_text('{"format": 1}')
    with pytest.raises(StorageError, match="damaged"):
        load_analysis(path)


def test_importing_the_package_loads_no_numbers_and_no_plots() -> None:
    script = "import sys, redheart.sweet_spot; print({'numpy', 'scipy', 'matplotlib', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "set()"


def test_both_languages_have_the_same_placeholders() -> None:
    for key, (korean, english) in MESSAGES.items():
        assert set(re.findall(r"{(\w+)", korean)) == set(re.findall(r"{(\w+)", english)), key


def test_a_stop_is_asked_for_between_techniques_and_plots_and_an_earlier_analysis_is_intact(tmp_path: Path) -> None:
    metrics = realistic_run(tmp_path / "metrics.jsonl", 3)
    analyze(metrics, tmp_path, CONFIG, plots=False)
    before = {path: path.read_bytes() for path in (tmp_path / "sweet_spot_analysis").iterdir()}
    questions = iter([False] * (len(TECHNIQUES) - 1) + [True])
    with pytest.raises(Interrupted, match="an earlier one is intact"):
        analyze(metrics, tmp_path, CONFIG, should_stop=lambda: next(questions))
    assert list(questions) == [] and before == {path: path.read_bytes() for path in before}
    assert not list(tmp_path.rglob("*.png"))


def test_the_stage_hands_the_question_on(tmp_path: Path) -> None:
    realistic_run(tmp_path / "metrics.jsonl", 3)
    with pytest.raises(Interrupted):
        stages.analyze(Config(output=str(tmp_path)), should_stop=lambda: True)
