"""``redheart doctor liveness``: a table or JSON, a file, and an exit code that says whether all is alive."""

from __future__ import annotations

import json

import pytest
import torch

from redheart.cli.main import main
from redheart.errors import OutOfMemory
from redheart.machine import Machine
from redheart.messages import set_language
from redheart.model import UnifiedModel
from redheart.storage import read_json
from redheart.tasks import MODULES
from redheart.workflow.examinations import liveness as liveness_module
from redheart.workflow.examinations.liveness import examine_liveness
from tests.training.planted import PLANTS
from tests.training.small_data import write_embedded


@pytest.fixture
def examine(tmp_path, monkeypatch, capsys):
    """Runs the command on small data; its exit code and what it printed."""
    torch.set_num_threads(1)
    monkeypatch.setenv("REDHEART_LANG", "en")
    dataset = write_embedded(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        output = str(tmp_path / "out")
        code = main(["doctor", "liveness", "--preset", "tiny", "--data", str(dataset), "--output", output, *words])
        return code, capsys.readouterr().out

    yield run
    set_language("ko")


def test_a_living_model_has_a_row_a_module_and_exit_code_0(examine, tmp_path):
    code, printed = examine("--batches", "4")
    assert code == 0
    lines = printed.splitlines()
    for module in MODULES:
        (row,) = [line.split() for line in lines if line.startswith(f"{module} ")]
        tensors, alive, gradient, update, rows, dead = row[1:]
        assert int(tensors) == int(alive) > 0 and int(rows) > 0 and dead == "0"
        assert float(gradient) > 1e-4 and float(update) > 1e-5
    assert lines[-1].startswith("✅ ") and "peak memory" in printed and "4 batches of 8 real situations" in printed
    assert "not in these batches" not in printed, "all tasks are"
    stored = read_json(tmp_path / "out" / "liveness.json")
    assert stored["alive"] and stored["steps"] == stored["updates"] == 4 and stored["preset"] == "tiny"
    assert stored["seconds_a_step"] > 0 and stored["peak_host_bytes"] > 1e8
    assert len(stored["modules"]) == 17 and len(stored["tensors"]) == sum(
        m["tensors"] for m in stored["modules"].values()
    )


@pytest.mark.parametrize("what", ["a detached branch", "half of a matrix's outputs unused"])
def test_what_is_dead_is_named_and_the_exit_code_is_1(examine, monkeypatch, what):
    plant, original = PLANTS[what], UnifiedModel.__init__

    def init(self, config, statistics):
        original(self, config, statistics)
        plant.plant(self)

    monkeypatch.setattr(UnifiedModel, "__init__", init)
    code, printed = examine("--batches", "3", "--json")
    assert code == 1
    found = json.loads(printed)
    assert not found["alive"]
    assert {name for name, tensor in found["tensors"].items() if tensor["faults"]} == set(plant.dead)
    assert {name for name, tensor in found["tensors"].items() if tensor["dead_rows"]} == set(plant.rows)
    code, printed = examine("--batches", "3")
    assert code == 1
    named = [line for line in printed.splitlines() if line.startswith("❌ ") and "(module " in line]
    assert {line.split()[1] for line in named} == {*plant.dead, *plant.rows}


def test_gradients_are_compared_at_the_smallest_preset_only(examine, capsys):
    code, _ = examine("--batches", "1", "--check-gradients", "--preset", "small")
    assert code == 2


def test_too_little_memory_is_said_before_anything_is_allocated(tmp_path, monkeypatch):
    from redheart.config import load_config

    monkeypatch.setattr(liveness_module, "inspect_machine", lambda _: Machine((), 8 * 1024**3, 2, 10**12))
    config = load_config(None, [("model.preset", "730m"), ("output", str(tmp_path / "out"))])
    with pytest.raises(OutOfMemory, match=r"preset 730m wants about 15\.\d GiB .* 8\.0 GiB are free"):
        examine_liveness(config, write_embedded(tmp_path), batches=1, batch_size=1)
    assert not (tmp_path / "out" / "liveness.json").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["doctor", "--json"], "'--json' is an option of doctor liveness only"),
        (["doctor", "--batches", "3"], "'--batches' is an option of doctor liveness only"),
        (["doctor", "livenes"], "unexpected 'livenes'; wanted 'liveness' or nothing"),
        (["doctor", "liveness", "--batches", "0"], "wanted a whole number"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as refused:
        main(words)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
