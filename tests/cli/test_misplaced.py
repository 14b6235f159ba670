"""Words in another order than they are understood in: one line that has the right one."""

from __future__ import annotations

import pytest

from redheart.cli.parser import build_parser, parse_arguments

BEHIND = "redheart: options stand behind the command; wanted: redheart "


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "workflow",
            "redheart workflow: the following arguments are required: mode; wanted one of unified-test, unified-train, validate",
        ),
        (
            "completion",
            "redheart completion: the following arguments are required: shell; wanted one of bash, zsh, tcsh",
        ),
        ("--data x train", BEHIND + "train --data x"),
        ("--data=x train", BEHIND + "train --data=x"),
        ("--lang en train --epochs 3", BEHIND + "train --lang en --epochs 3"),
        ("--output train train", BEHIND + "train --output train"),
        ("--verbose train", BEHIND + "train --verbose"),
        ("training.epochs=3 train", BEHIND + "train training.epochs=3"),
        ("-- train", BEHIND + "train"),
        (
            "-v train",
            "redheart: options stand behind the command, and '-v' is none of redheart train's; wanted: redheart train --verbose",
        ),
        (
            "--epochs 3",
            "redheart: found options but no command; wanted redheart COMMAND --epochs 3, with one of train, launch, ablate, workflow",
        ),
        ("-v", "redheart: unknown option '-v'; did you mean '--version'?"),
        ("-x", "redheart: unknown option '-x'; see --help"),
        ("--to x --epochs 3", "redheart: found options of different commands, and no command; see --help"),
        ("train -v", "redheart train: unknown option '-v'; did you mean '--verbose'?"),
        ("train -d", "redheart train: unknown option '-d'; did you mean '--data' or '--debug'?"),
        (
            "train workflow",
            "redheart train: unexpected 'workflow', which is a command of its own: wanted one at a time, redheart train or "
            "redheart workflow",
        ),
        ("train train", "redheart train: unexpected 'train', which is there twice: wanted redheart train"),
        (
            "validate unified-test",
            "redheart validate: unexpected 'unified-test', which belongs to redheart workflow: wanted redheart workflow unified-test",
        ),
        ("train a.json", "redheart train: unexpected 'a.json', which wants its option: redheart train --data a.json"),
    ],
)
def test_the_line_has_what_was_wanted(capsys: pytest.CaptureFixture[str], words: str, line: str) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_arguments(words.split())
    shown = capsys.readouterr()
    assert (raised.value.code, shown.out, shown.err) == (2, "", f"{line}\n")


def test_options_without_a_command_name_those_that_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--output", "x"])
    named = capsys.readouterr().err.partition("with one of ")[2].strip().split(", ")
    assert named == [name for name, one in build_parser().commands().items() if "--output" in one.options()]


@pytest.mark.parametrize(
    ("words", "usage"), [("--lang ko --help", "redheart [-h]"), ("--debug -h train", "redheart train [-h]")]
)
def test_help_that_stands_among_them_is_shown(capsys: pytest.CaptureFixture[str], words: str, usage: str) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_arguments(words.split())
    assert raised.value.code == 0 and capsys.readouterr().out.startswith(f"usage: {usage}")
