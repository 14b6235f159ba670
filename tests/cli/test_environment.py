"""Inherited environment variables: each is honoured, or refused in one line that names it and how to be rid of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from redheart.cli import main as main_module
from redheart.cli.failed_import import what_failed_to_import
from redheart.cli.main import main
from redheart.config import load_config
from redheart.engine.launch import Launch
from redheart.errors import ConfigError

ROOT = Path(__file__).parents[2]
PLACE = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No launcher's variables to begin with, and an empty folder."""
    for name in (*PLACE, *(name for name in os.environ if name.startswith("ACCELERATE_"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


REFUSED = (
    ({"WORLD_SIZE": "four"}, "WORLD_SIZE: found 'four', wanted a whole number of at least 1", "unset WORLD_SIZE"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE: found '0', wanted a whole number of at least 1", "unset WORLD_SIZE"),
    ({"RANK": ""}, "RANK: found '', wanted a whole number of at least 0", "unset RANK"),
    ({"RANK": "-1"}, "RANK: found '-1'", "unset RANK"),
    ({"LOCAL_RANK": "0"}, "found LOCAL_RANK=0 but no RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT", "unset LOCAL_RANK"),
    ({"LOCAL_RANK": "zero"}, "LOCAL_RANK: found 'zero'", "unset LOCAL_RANK"),
    ({"WORLD_SIZE": "4"}, "found WORLD_SIZE=4 but no RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT", "unset WORLD_SIZE"),
    ({"RANK": "0", "WORLD_SIZE": "4"}, "found RANK=0, WORLD_SIZE=4 but no LOCAL_RANK", "unset RANK WORLD_SIZE"),
    (PLACE | {"MASTER_ADDR": ""}, "but no MASTER_ADDR", "unset RANK WORLD_SIZE LOCAL_RANK"),
    (PLACE | {"MASTER_PORT": "many"}, "MASTER_PORT: found 'many'", "unset MASTER_PORT"),
    (PLACE | {"RANK": "2"}, "found RANK=2 and WORLD_SIZE=2", "a rank below the size"),
    ({"ACCELERATE_USE_CPU": "maybe"}, "ACCELERATE_USE_CPU: found 'maybe'", "unset ACCELERATE_USE_CPU"),
    (
        {"ACCELERATE_USE_DEEPSPEED": "banana"},
        "ACCELERATE_USE_DEEPSPEED: found 'banana'",
        "unset ACCELERATE_USE_DEEPSPEED",
    ),
    ({"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP: found 'true'", "launch/zero3.yaml"),
    ({"ACCELERATE_USE_MEGATRON_LM": "1"}, "ACCELERATE_USE_MEGATRON_LM: found '1'", "launch/zero3.yaml"),
    ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "ACCELERATE_DYNAMO_BACKEND: found 'INDUCTOR'", "training.compile=true"),
    ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "x"}, "ACCELERATE_GRADIENT_ACCUMULATION_STEPS: found 'x'", "unset"),
)


@pytest.mark.parametrize(("found", "what", "cure"), REFUSED, ids=[str(case[0])[:60] for case in REFUSED])
@pytest.mark.parametrize("command", ["train", "sweep", "workflow unified-train"])
def test_a_place_told_by_halves_or_a_way_that_is_not_ours_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    found: dict[str, str],
    what: str,
    cure: str,
) -> None:
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert main([*command.split(), "--lang", "en"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and what in said and cure in said
    assert not list(Path().iterdir())


def test_what_the_launcher_says_of_a_training_is_ours_too_or_an_error_that_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(None, ["training.precision=no", "training.micro_batch_size=8"])  # 4 micro-batches a step
    for name, value, wanted in (
        ("ACCELERATE_MIXED_PRECISION", "bf16", "training.precision comes to 'no'"),
        ("ACCELERATE_MIXED_PRECISION", "banana", "training.precision comes to 'no'"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "3", "training.gradient_accumulation_steps=3"),
        ("ACCELERATE_TORCH_DEVICE", "meta", "unset ACCELERATE_TORCH_DEVICE"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ConfigError, match=name) as refusal:
            patch.setenv(name, value)
            Launch.of(config)
        assert wanted in str(refusal.value)
    for name, value in (
        ("ACCELERATE_MIXED_PRECISION", "no"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1"),
        ("ACCELERATE_TORCH_DEVICE", "cpu"),
        ("ACCELERATE_DYNAMO_BACKEND", "no"),
    ):
        monkeypatch.setenv(name, value)
        assert Launch.of(config).world_size == 1


def _redheart(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "redheart", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REDHEART_LANG": "en", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("name", "value"), [("TORCH_LOGS", "nonsense"), ("TQDM_MININTERVAL", "abc")])
def test_a_library_that_an_inherited_variable_keeps_from_being_imported_is_named_with_the_variable(
    tmp_path: Path, name: str, value: str
) -> None:
    done = _redheart("params", cwd=tmp_path, **{name: value})
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert (
        f"the library {name.split('_')[0].lower()} could not be imported" in done.stderr
        and f"{name}='{value}'" in done.stderr
    )


def test_a_broken_library_is_named_and_an_error_of_our_own_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "brokenlibrary.py").write_text("raise OSError('libmissing.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)

    def imports_it(*_: object) -> int:
        import brokenlibrary  # type: ignore[import-not-found]  # noqa: F401

        return 0

    monkeypatch.setattr(main_module, "run", imports_it)
    assert main(["params", "--lang", "en"]) == 3
    assert "the library brokenlibrary could not be imported: OSError: libmissing.so" in capsys.readouterr().err
    try:
        _ = {}["no such key"]
    except KeyError as error:
        assert what_failed_to_import(error) is None


def test_a_python_without_docstrings_is_refused_and_one_without_assertions_is_not(tmp_path: Path) -> None:
    refused = _redheart("validate", cwd=tmp_path, PYTHONOPTIMIZE="2")
    assert refused.returncode == 3 and "unset PYTHONOPTIMIZE" in refused.stderr and "Traceback" not in refused.stderr
    assert _redheart("help", cwd=tmp_path, PYTHONOPTIMIZE="2").returncode == 0
    assert _redheart("params", cwd=tmp_path, PYTHONOPTIMIZE="1").returncode == 0


@pytest.mark.parametrize("value", ["", "abc"])
def test_a_number_of_threads_that_is_none_ends_nothing(tmp_path: Path, value: str) -> None:
    done = _redheart("params", cwd=tmp_path, OMP_NUM_THREADS=value, MKL_NUM_THREADS=value)
    assert done.returncode == 0, done.stderr
