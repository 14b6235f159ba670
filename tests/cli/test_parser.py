"""What can be typed, and the one line for what can't."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import redheart
from redheart.cli.options import overrides
from redheart.cli.parser import build_parser, parse_arguments
from redheart.errors import UsageError


def _refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as raised:
        parse_arguments(words)
    assert raised.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, "one line"
    return shown.err.strip()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train --epoch 3", "redheart train: unknown option '--epoch'; did you mean '--epochs'?"),
        ("train --epoch=3 a.b=1", "redheart train: unknown option '--epoch=3'; did you mean '--epochs'?"),
        ("train --zzzzzz", "redheart train: unknown option '--zzzzzz'; see --help"),
        ("workflow unified-test --sample 3", "redheart workflow: unknown option '--sample'; did you mean '--samples'?"),
        ("train --samples 3", "redheart train: '--samples' is an option of redheart workflow only; see --help"),
        ("train much", "redheart train: unexpected 'much'; see --help"),
        ("params seed=1", "redheart params: unexpected 'seed=1'; see --help"),
        (
            "embed --force",
            "redheart embed: '--force' is an option of redheart sweep, redheart train, redheart launch, redheart analyze, "
            "redheart crossover, redheart ablate, redheart report, redheart workflow, redheart checkpoints only; see --help",
        ),
        ("help trian", "redheart: unknown command 'trian'; did you mean 'train'?"),
        ("help train much", "redheart help: unexpected 'much'; see --help"),
        ("version much", "redheart version: unexpected 'much'; see --help"),
        ("trian", "redheart: unknown command 'trian'; did you mean 'train'?"),
        (
            "",
            "redheart: the following arguments are required: COMMAND; wanted one of validate, embed, sweep, train, launch, consolidate, "
            "analyze, crossover, evaluate, predict, export, ablate, report, workflow, checkpoints, runs, plan, params, doctor, help, "
            "version, completion",
        ),
        ("train --epochs 0", "redheart train: argument --epochs: found '0', wanted a whole number of at least 1"),
        ("train --epochs 1.5", "redheart train: argument --epochs: found '1.5', wanted a whole number of at least 1"),
        ("sweep --workers -1", "redheart sweep: argument --workers: found '-1', wanted a whole number of at least 1"),
        ("ablate --seeds 1", "redheart ablate: argument --seeds: found '1', wanted at least 2: a spread needs two"),
        (
            "ablate --groups phases,kalman",
            "redheart ablate: argument --groups: found 'kalman', wanted some of backbone,heads,neural_analyzers,"
            "advanced_wrappers,phases,dsp_simulator,kalman_filter,radial,paths,linear",
        ),
    ],
)
def test_what_is_not_known_is_one_line_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: str, line: str
) -> None:
    assert _refused(capsys, *words.split()) == line


@pytest.mark.parametrize("rate", ["0", "-1e-4", "1", "nan", "inf", "fast", "1e-4x", '"5.6e-05"'])
def test_a_learning_rate_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], rate: str) -> None:
    line = _refused(capsys, "train", f"--lr={rate}")
    assert f"argument --lr: found '{rate}', wanted a learning rate between 0 and 1" in line


@pytest.mark.parametrize("words", [["train", "--lr"], ["train", "--lr", ""]])
def test_a_learning_rate_read_from_an_absent_file_points_at_the_file(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert "is lr_sweep_results/optimal_lr.json there?" in _refused(capsys, *words)


_PATHS = [
    (name, action.option_strings[-1])
    for name, parser in build_parser().commands().items()
    for action in parser._actions
    if action.option_strings and action.metavar in ("FILE", "FOLDER", "PATH")
]


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
@pytest.mark.parametrize(("command", "option"), _PATHS)
def test_an_empty_path_is_a_mistake_and_not_the_default(
    capsys: pytest.CaptureFixture[str], command: str, option: str, value: str
) -> None:
    mode = ["unified-test"] if command == "workflow" else []
    for words in ([option, value], [f"{option}={value}"]):
        line = _refused(capsys, command, *mode, *words)
        assert f"argument {option}: found an empty value, {value!r}" in line and "is a variable unset?" in line


def test_options_that_take_a_path_were_found() -> None:
    assert {"--data", "--config", "--output", "--checkpoint", "--to", "--file"} <= {option for _, option in _PATHS}


def test_a_mode_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "invalid choice: 'unified-tset'" in _refused(capsys, "workflow", "unified-tset")


def test_settings_may_stand_between_options_and_keep_their_order() -> None:
    words = "workflow unified-test training.epochs=2 seed=1 --samples 3 training.epochs=4 --debug data.path=a=b"
    arguments = parse_arguments(words.split())
    assert arguments.overrides == ["training.epochs=2", "seed=1", "training.epochs=4", "data.path=a=b"]
    assert (arguments.mode, arguments.samples, arguments.debug) == ("unified-test", 3, True)


def test_an_options_value_is_not_taken_for_a_setting() -> None:
    arguments = parse_arguments(["train", "--config", "a=b.yaml", "--data", "x=y"])
    assert (arguments.config, arguments.data, arguments.overrides) == ("a=b.yaml", "x=y", [])


@pytest.mark.parametrize(
    "words",
    [
        "workflow unified-test --samples 3 --no-param-update --debug --verbose",
        "workflow unified-test --lr-sweep --samples 1 --no-param-update --debug --verbose",
        "workflow unified-train --epochs 60 --lr 5.6e-05",
        "workflow validate",
    ],
)
def test_the_documented_commands_are_understood(words: str) -> None:
    assert parse_arguments(words.split()).command == "workflow"


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for name, parser in build_parser().commands().items():
        assert parser.description, name
        with pytest.raises(SystemExit) as raised:
            parse_arguments([name, "--help"])
        assert raised.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: redheart {name}")


def _told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as raised:
        parse_arguments(words)
    assert raised.value.code == 0
    return capsys.readouterr().out


def test_help_and_version_are_commands_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _told(capsys, "help") == _told(capsys, "--help")
    for name in build_parser().commands():
        assert _told(capsys, "help", name) == _told(capsys, name, "--help")
    assert _told(capsys, "help", "doctor", "liveness") == _told(capsys, "doctor", "--help")
    version = f"redheart {redheart.__version__}\n"
    assert _told(capsys, "version") == _told(capsys, "--version") == _told(capsys, "-V") == version


def test_a_setting_is_taken_by_each_stage_so_that_a_batch_file_has_one_list() -> None:
    for stage in ("validate", "embed", "sweep", "train", "analyze", "crossover", "report"):
        assert (
            parse_arguments([stage, *["--data", "x", "--output", "y", "--seed", "1", "--preset", "tiny"]]).data == "x"
        )


def test_an_ablations_options_are_settings_of_the_ablation_and_not_of_the_training() -> None:
    arguments = parse_arguments(
        ["ablate", "--epochs", "3", "--seeds", "2", "--workers", "4", "--lr", "1e-3", "--groups", "phases,linear"]
    )
    assert dict(overrides(arguments)) == {  # type: ignore[arg-type]
        "ablation.epochs": 3,
        "ablation.seeds": 2,
        "ablation.workers": 4,
        "training.learning_rate": 1e-3,
    }
    assert arguments.groups == ("phases", "linear")
    assert dict(overrides(parse_arguments(["train", "--epochs", "3"]))) == {"training.epochs": 3}  # type: ignore[arg-type]


def test_the_readme_names_every_command() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = "\n".join(line for line in readme.splitlines() if line.startswith("| `redheart "))
    for command in (*build_parser().commands(), "doctor liveness", "doctor build"):
        assert re.search(rf"`redheart {command}\b", rows), command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs", "50", "training.epochs=3"], "found --epochs 50 and training.epochs=3; wanted one of them"),
        (["--data", "a.json", "data.path=b.json"], "found --data a.json and data.path=b.json"),
        (["--strict", "training.strict=false"], "found --strict and training.strict=false"),
        (["--lr", "1e-3", "training.learning_rate=null"], "training.learning_rate=null"),
    ],
)
def test_an_option_and_a_setting_that_say_different_things_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        overrides(parse_arguments(["train", *words]))


def test_an_option_and_a_setting_may_say_the_same() -> None:
    words = [
        "--epochs",
        "3",
        "training.epochs=3",
        "--lr",
        "1e-3",
        "training.learning_rate=0.001",
        "--strict",
        "training.strict=true",
    ]
    assert dict(one for one in overrides(parse_arguments(["train", *words])) if not isinstance(one, str)) == {
        "training.epochs": 3,
        "training.learning_rate": 1e-3,
        "training.strict": True,
    }
