"""The edge: exit codes, languages, what is imported, and that looking starts nothing."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redheart import errors, progress
from redheart.cli import commands
from redheart.cli.main import main
from redheart.messages import LOGGER_NAME, language, set_language

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test in its own folder; the language, the logger and the environment as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDHEART_LANG", "en")
    logger, before = logging.getLogger(LOGGER_NAME), language()
    kept = (logger.handlers[:], logger.level, logger.propagate)
    logger.handlers = []
    yield
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.level, logger.propagate = kept
    set_language(before)


def _do_instead(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    """Has `redheart train` do ``run``."""
    monkeypatch.setattr(commands.COMMANDS["train"], "run", run)


def _python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["workflow", "--help"], ["train", "--epoch", "3"]])
def test_help_and_mistakes_import_nothing_heavy(words: list[str]) -> None:
    looked = (
        "import sys\nfrom redheart.cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    loaded = _python("-c", looked).stderr
    assert "redheart" in loaded
    for heavy in ("torch", "numpy", "matplotlib", "msgspec", "yaml", "tqdm", "psutil", "dataclasses"):
        assert f"'{heavy}'" not in loaded, heavy


def test_counting_parameters_gives_730_million(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--preset", "730m", "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert abs(counted["total"] - 730e6) <= 7.3e6
    assert sum(counted["modules"].values()) == counted["total"]
    assert len(counted["modules"]) == len(counted["flops"]["modules"]) == 17
    assert counted["flops"]["forward"] > 1e10


def test_the_preset_auto_is_counted_as_what_trains_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["params", "--preset", "auto", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["preset"] == "tiny"
    assert main(["params", "--preset", "auto", "--lang", "en"]) == 0
    assert capsys.readouterr().out.startswith("tiny (auto: ")


def test_the_table_of_parameters_ends_with_the_line_that_people_search_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--lang", "ko"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("✅ 목표 파라미터 수 달성: 7") and lines[-1].endswith("M ≈ 730M")
    assert lines[-2].startswith("GFLOPs a situation of 16 segments: 17.")
    assert lines[-3].split()[0] == "total"


def test_the_reader_of_our_output_may_go() -> None:
    command = f"{sys.executable} -m redheart params --preset tiny | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_a_bad_language_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDHEART_LANG", "fr")
    assert main(["params", "--preset", "tiny"]) == 2
    assert capsys.readouterr().err == "redheart params: REDHEART_LANG: found 'fr', wanted 'ko' or 'en'\n"


def test_the_option_goes_over_the_environment_and_is_handed_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDHEART_LANG", "fr")
    assert main(["params", "--preset", "tiny", "--lang", "en"]) == 0
    assert language() == "en"
    assert os.environ["REDHEART_LANG"] == "en"


def test_korean_is_spoken_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDHEART_LANG")
    set_language("en")
    assert main(["params", "--preset", "tiny"]) == 0
    assert language() == "ko"


def test_every_command_is_under_way_aloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that no stage can be silent, whatever it does."""
    monkeypatch.chdir(tmp_path)
    outermost: list[str] = []
    _do_instead(monkeypatch, lambda arguments, config: outermost.append(progress._ticker._under_way[0].what) or 0)
    assert main(["train"]) == 0
    assert outermost == ["redheart train"]
    assert not progress._ticker._under_way


def test_options_and_settings_become_one_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    _do_instead(monkeypatch, lambda arguments, config: seen.append(config) or 0)
    words = (
        "train training.epochs=2 --output out training.weight_decay=1e-4 --lr 5.6e-05 --preset tiny --no-param-update"
    )
    assert main(words.split()) == 0
    (config,) = seen
    assert (config.training.epochs, config.training.weight_decay) == (2, 1e-4)
    assert (config.training.learning_rate, config.model.preset, config.output) == (5.6e-5, "tiny", "out")
    assert config.training.no_param_update


@pytest.mark.parametrize(
    "error",
    [
        errors.UsageError("what is wrong"),
        errors.ConfigError("what is wrong"),
        errors.DataError("what is wrong"),
        errors.MissingRequirement("what is wrong"),
        errors.StorageError("what is wrong"),
        errors.TrainingError("what is wrong"),
        errors.Interrupted("what is wrong"),
        errors.RedHeartError("what is wrong"),
        errors.NotYetDone("what is wrong"),
        errors.OutOfMemory("what is wrong"),
        errors.AnotherEncoder("what is wrong"),
        errors.AnotherModel("what is wrong"),
        errors.FolderInUse("what is wrong"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_each_kind_of_error_has_its_exit_code_and_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: errors.RedHeartError
) -> None:
    codes = {
        "UsageError": 2,
        "ConfigError": 2,
        "DataError": 2,
        "MissingRequirement": 3,
        "StorageError": 4,
        "TrainingError": 5,
        "Interrupted": 130,
        "RedHeartError": 1,
        "NotYetDone": 6,
        "OutOfMemory": 7,
        "AnotherEncoder": 8,
        "AnotherModel": 9,
        "FolderInUse": 10,
    }

    def fail(arguments: Any, config: Any) -> int:
        raise error

    _do_instead(monkeypatch, fail)
    assert main(["train"]) == codes[type(error).__name__]
    assert capsys.readouterr().err == "redheart train: what is wrong\n"
    assert main(["train", "--debug"]) == codes[type(error).__name__]
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_one_process_of_a_group_is_told_and_one_of_all_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)

    def fail(error: Exception) -> Any:
        def failing(arguments: Any, config: Any) -> int:
            raise error

        return failing

    _do_instead(monkeypatch, fail(errors.StorageError("disk full")))
    assert main(["train"]) == 4
    assert capsys.readouterr().err == "redheart train [process 3]: disk full\n"
    _do_instead(monkeypatch, fail(errors.DataError("bad data")))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == ""


def test_wrong_settings_start_nothing_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "training.epoch=3", "trainin.strict=true"]) == 2
    shown = capsys.readouterr().err
    assert "did you mean 'training.epochs'?" in shown and "did you mean 'training.strict'?" in shown
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_can_not_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["report", "--output", "taken/out"]) == 4
    assert "taken/out/redheart.log: could not open the log" in capsys.readouterr().err


def test_a_run_that_may_not_be_written_is_told_with_the_cure_where_files_are_to_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(logging, "FileHandler", refuse)
    assert main(["report", "--output", "theirs"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("redheart report: theirs: may not be written by this user (Permission denied)")
    assert "take a copy of the folder" in line


@pytest.mark.parametrize("words", [["workflow", "validate"], ["validate"], ["doctor"]])
def test_looking_starts_nothing_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "✅ Python: " in shown.out + shown.err
    assert list(tmp_path.iterdir()) == []


def test_validate_tells_of_bad_data_and_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text('[{"id": "a", "text": "x", "regret_factor": 7}]')
    for words in (["workflow", "validate"], ["validate"]):
        assert main([*words, "--data", "bad.json"]) == 2
        assert "regret_factor" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("words", [["validate", "--output"], ["train", "--output"], ["export", "--to"]])
def test_a_link_to_nowhere_is_refused_as_a_folder_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "link").symlink_to("gone")
    assert main([*words, "link"]) == 2
    assert "link is a link to gone, which is not there; wanted a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_current_folder_that_was_deleted_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for words in (["train"], ["predict", "hi"], ["validate"]):
        assert main(words) == 2
        assert "is not there any more; wanted one: go to another (cd)" in capsys.readouterr().err
    os.chdir(tmp_path)
