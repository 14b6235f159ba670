"""Shell completion: bash completes commands, options and their choices; without shtab one line says what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from redheart.cli.completion import SHELLS
from redheart.cli.parser import parse_arguments

COMPLETE = r"""
source /dev/stdin
COMP_WORDS=(redheart "$@"); COMP_CWORD=$(( $# ))
"$(complete -p redheart | sed 's/.*-F \([^ ]*\).*/\1/')" redheart "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def _script(capsys: pytest.CaptureFixture[str], shell: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["completion", shell])
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["tra"], {"train"}),
        (["train", "--pre"], {"--preset"}),
        (["sweep", "--preset", "7"], {"730m"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes_commands_options_and_choices(
    capsys: pytest.CaptureFixture[str], typed: list[str], wanted: set[str]
) -> None:
    script = _script(capsys, "bash")
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *typed], input=script, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == wanted, done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_each_shell(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    script = _script(capsys, shell)
    assert "redheart" in script and "unified-train" in script


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["completion", "fish"])
    assert ended.value.code == 2 and "choose from 'bash', 'zsh', 'tcsh'" in capsys.readouterr().err


def test_without_shtab_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["completion", "bash"])
    shown = capsys.readouterr()
    assert ended.value.code == 3 and shown.out == ""
    assert shown.err.count("\n") == 1 and "pip install shtab" in shown.err
