"""Random datasets, command lines, settings and environments: an answer with an exit code, no traceback, nothing half written.

``make fuzz`` tries 20,000; here a few hundred, the same ones every time.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redheart import errors
from redheart.cli.main import main
from tests.fuzz.things_people_do import VARIABLES, command_lines, datasets, environments, settings_files

ROOT = Path(__file__).parents[2]
#: Every exit code that the documentation has, and 0.
CODES = {0} | {
    one.exit_code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RedHeartError)
}
#: How many to try in all; a few hundred, chosen the same way every time, unless asked.
ASKED = int(os.environ.get("REDHEART_FUZZ", "0"))


def tries(few: int, share: float) -> settings:
    """So many examples, or that share of what was asked for."""
    return settings(
        max_examples=max(few, round(ASKED * share)),
        derandomize=not ASKED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@pytest.fixture
def new_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Makes an empty folder the current one; the one before is gone. Nobody types."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    made: list[Path] = []

    def make() -> Path:
        while made:
            os.chdir(ROOT)
            shutil.rmtree(made.pop())
        made.append(Path(tempfile.mkdtemp(prefix="fuzz")))
        os.chdir(made[0])
        return made[0]

    here = Path.cwd()
    yield make
    os.chdir(here)
    for folder in made:
        shutil.rmtree(folder)


def answer(words: list[str]) -> tuple[int, str]:
    """The exit code and what was said, as a person would meet them; a name that is not UTF-8 is said in its own bytes."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            code = main(words)
        except SystemExit as ended:  # the parser's
            code = int(ended.code or 0)
    shown, said = (written.buffer.getvalue().decode(errors="replace") for written in (out, err))
    assert code in CODES, (code, said)
    assert "Traceback" not in said and "Traceback" not in shown
    assert code == 0 or said.strip(), "a refusal without a word"
    return code, said


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@tries(180, 0.5)
@given(content=datasets(), ending=st.sampled_from([".json", ".json", ".jsonl", ".txt", ""]))
def test_any_dataset_is_taken_or_refused_and_looking_writes_nothing(
    new_folder: Callable[[], Path], content: bytes, ending: str
) -> None:
    folder = new_folder()
    (folder / f"sample{ending}").write_bytes(content)
    code, said = answer(["validate", "--data", f"sample{ending}", "--lang", "en"])
    assert code in (0, 2), said
    assert code == 0 or "sample" in said, "a refusal that does not name the file"
    assert listed(folder) == {f"sample{ending}"}


@tries(200, 0.35)
@given(words=command_lines())
def test_any_command_line_is_answered_and_a_refused_one_leaves_nothing(
    new_folder: Callable[[], Path], words: list[str]
) -> None:
    folder = new_folder()
    code, said = answer(words)
    left = listed(folder)
    assert code != 2 or not left, (said, left)
    assert not any(name.endswith(".tmp") or ".writing" in name for name in left)


@tries(70, 0.13)
@given(content=settings_files())
def test_any_file_of_settings_is_taken_or_refused(new_folder: Callable[[], Path], content: bytes) -> None:
    folder = new_folder()
    (folder / "settings.yaml").write_bytes(content)
    code, _ = answer(["train", "--config", "settings.yaml", "--print-config"])
    assert code in (0, 2, 3) and listed(folder) == {"settings.yaml"}


COMMANDS = (
    ["validate", "--data", "sample.json"],
    ["report"],
    ["doctor"],
    ["train", "--print-config"],
    ["params", "--preset", "tiny"],
)


def in_a_process(folder: Path, environment: dict[str, str], words: list[str]) -> str | None:
    """What is wrong with the answer; None: nothing."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "redheart", *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    shown = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode not in CODES or "Traceback" in shown or (done.returncode and not done.stderr.strip()):
        return f"{environment} {words}: {done.returncode}\n{shown[-1500:]}"
    return None


# One at a time: the first example is always the simplest there is, and of a list of them each would be that one.
@tries(20, 0.025)
@given(environment=environments, words=st.sampled_from((*COMMANDS[:3], *COMMANDS[:3], *COMMANDS)))
def test_any_environment_is_honoured_or_refused_in_a_line(
    new_folder: Callable[[], Path], environment: dict[str, str], words: list[str]
) -> None:
    folder = new_folder()
    shutil.copy(ROOT / "redheart" / "data" / "sample" / "situations.json", folder / "sample.json")
    fault = in_a_process(folder, environment, words)
    assert fault is None, fault
