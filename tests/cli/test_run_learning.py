"""The start script, in a copy of its files, with a Python environment that only writes down what it was asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.cli.parser import build_parser

ROOT = Path(__file__).parents[2]

#: A Python that notes its arguments, fails where a file `pip-fails` says so, and makes copies of itself as venvs.
STUB = """#!/bin/bash
echo "$*" >>"{notes}"
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"-m pip "*) if [ -e "{folder}/pip-fails" ]; then echo "ERROR: no matching distribution"; exit 1; fi ;;
    "-c import sys; from redheart"*) shift 2; PYTHONPATH="{project}" exec "{python}" -c \
        'import sys; from redheart.cli.parser import parse_arguments; parse_arguments(sys.argv[1:])' "$@" ;;
    *"-m redheart "*) echo "RAN in $PWD with ${{PATH%%:*}}"; exit 7 ;;
esac
"""


class Project:
    """A copy of the shell files, a `python3` on PATH, and what it was asked."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.project = folder, folder / "the project"
        self.notes = folder / "notes"
        (self.project / "launch").mkdir(parents=True)
        for name in ("run_learning.sh", "launch/environment.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.project / name)
        (self.project / "redheart").symlink_to(ROOT / "redheart")
        self.bin = folder / "bin"
        self.bin.mkdir()
        stub = STUB.format(notes=self.notes, folder=folder, project=self.project, python=python)
        (self.bin / "python3").write_text(stub)
        (self.bin / "python3").chmod(0o755)

    def active_environment(self, name: str) -> Path:
        environment = self.folder / name
        (environment / "bin").mkdir(parents=True)
        shutil.copy(self.bin / "python3", environment / "bin" / "python")
        return environment

    def start(self, *words: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.project / "run_learning.sh"), *words],
            cwd=cwd or self.folder,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(self.folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def asked(self) -> list[str]:
        """What the Pythons were asked since the last look."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines

    @property
    def venv(self) -> Path:
        return self.project / ".venv"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, sys.executable)


def _installs(asked: list[str]) -> list[str]:
    return [line for line in asked if "-m pip install" in line]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["unified-tset"],
            "run_learning.sh: unknown mode 'unified-tset'; wanted unified-test, unified-train, validate or help",
        ),
        (["unified-test", "--sample", "3"], "redheart workflow: unknown option '--sample'; did you mean '--samples'?"),
        (
            ["unified-test", "--samples", "0"],
            "redheart workflow: argument --samples: found '0', wanted a whole number of at least 1",
        ),
    ],
)
def test_what_is_mistyped_is_one_line_and_costs_nothing(project: Project, words: list[str], line: str) -> None:
    done = project.start(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")
    assert not project.venv.exists()
    assert not (project.folder / "training").exists()
    assert _installs(project.asked()) == []


def test_an_empty_mode_is_an_unset_variable_and_not_the_help(project: Project) -> None:
    done = project.start("")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown mode ''" in done.stderr


@pytest.mark.parametrize("words", [[], ["help"], ["--help"], ["-h"]])
def test_help_works_from_any_folder_and_needs_no_python(project: Project, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "elsewhere").mkdir()
    done = project.start(*words, cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: bash run_learning.sh MODE [OPTIONS]")
    assert project.asked() == []


def test_help_names_every_option_of_the_workflow(project: Project) -> None:
    text = project.start("help").stdout
    options = set(build_parser().commands()["workflow"].options()) - {"-h", "--help"}
    for_those_who_know_the_command = {"--config", "--init-from", "--seed", "--strict"}
    assert {option for option in options if option not in text} == for_those_who_know_the_command


def test_the_first_start_makes_the_environment_and_the_second_runs_no_pip(project: Project, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    words = ["unified-test", "--samples", "3", "--no-param-update", "--debug", "--verbose"]
    first = project.start(*words, cwd=tmp_path / "work")
    assert first.returncode == 7, first.stderr
    assert f"RAN in {tmp_path / 'work'} with {project.venv / 'bin'}" in first.stdout, "ninja is found by PATH"
    asked = project.asked()
    (install,) = _installs(asked)
    assert f"-c {project.project}/constraints.txt -e {project.project}[offline]" in install
    assert asked[-1] == f"-m redheart workflow {' '.join(words)}"

    second = project.start(*words, cwd=tmp_path / "work")
    assert second.returncode == 7
    assert second.stderr == ""
    assert project.asked() == [f"-m redheart workflow {' '.join(words)}"], "one Python, the program itself"


def test_a_changed_pyproject_is_installed_again(project: Project) -> None:
    project.start("validate")
    project.asked()
    with open(project.project / "pyproject.toml", "a") as content:
        content.write("\n# changed\n")
    project.start("validate")
    assert len(_installs(project.asked())) == 1
    project.start("validate")
    assert _installs(project.asked()) == []


def test_a_failed_pip_leaves_no_stamp_and_says_where_the_log_is(project: Project) -> None:
    (project.folder / "pip-fails").touch()
    failed = project.start("validate")
    assert failed.returncode == 3
    log = project.venv / "install.log"
    assert f"Installing failed; the whole log is {log}." in failed.stderr
    assert "ERROR: no matching distribution" in failed.stderr
    assert "no matching distribution" in log.read_text()
    assert list(project.venv.glob(".redheart-installed*")) == []
    assert not any("-m redheart" in line for line in project.asked()), "nothing was started"

    (project.folder / "pip-fails").unlink()
    assert project.start("validate").returncode == 7
    assert len(_installs(project.asked())) == 1


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_is_used_instead(project: Project, variable: str) -> None:
    active = project.active_environment("active")
    done = project.start("validate", **{variable: str(active)})
    assert done.returncode == 7, done.stderr
    assert f"with {active / 'bin'}" in done.stdout
    assert not project.venv.exists()
    assert list(active.glob(".redheart-installed*"))


def test_a_python_that_is_too_old_is_told(project: Project) -> None:
    (project.bin / "python3").write_text("#!/bin/bash\nexit 1\n")
    only = project.folder / "only"
    only.mkdir()
    for tool in ("bash", "dirname", "cat", "cksum"):
        (only / tool).symlink_to(str(shutil.which(tool)))
    done = project.start("validate", PATH=f"{project.bin}:{only}")
    assert done.returncode == 3
    assert done.stderr == "Red Heart needs Python 3.10 or later; none was found on PATH\n"


def test_a_venv_that_can_not_be_made_is_told_and_cleared_away(project: Project) -> None:
    stub = project.bin / "python3"
    stub.write_text(stub.read_text().replace('cp "$0" "$3/bin/python"', "exit 1"))
    done = project.start("validate")
    assert done.returncode == 3
    assert "apt install python3-venv" in done.stderr
    assert not project.venv.exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_shell_files_pass_shellcheck() -> None:
    done = subprocess.run(
        ["shellcheck", "-x", "run_learning.sh", "launch/environment.sh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_an_environment_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    """Ctrl-C between python and pip: what is there has a python that can't install anything."""
    project = Project(tmp_path, sys.executable)
    broken = project.project / ".venv" / "bin"
    broken.mkdir(parents=True)
    no_pip = """case "$*" in "-m pip "*) echo "No module named pip" >&2; exit 1 ;; esac"""
    (broken / "python").write_text(f'#!/bin/bash\n{no_pip}\nexec {project.bin}/python3 "$@"\n')
    (broken / "python").chmod(0o755)
    done = project.start("unified-test")
    assert done.returncode == 7, done.stderr  # the stub's: it came as far as redheart itself
    assert "making it again" in done.stderr
