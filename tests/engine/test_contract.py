"""One contract, every engine: plain, data parallel, ZeRO-2 and ZeRO-3, two processes each; and what else two processes show.

A start of two processes takes half a minute, so each engine is launched once for all that is asked of it: the launch goes
through its acts (``tests/integration/launched.py``), and the tests read what they left.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from redheart.batches.order import epoch_order, global_batches
from redheart.batches.table import SituationTable
from redheart.config import load_config
from redheart.storage import read_json
from redheart.training.schedule import set_learning_rate
from tests.engine.contract_checks import CHECKS, Stage, outcomes
from tests.integration.continuing import furthest_loss, leave, read_ends, slices_differ, take_up
from tests.integration.launched import loss_on_choose, steps_with_drops
from tests.integration.launching import CUT, LEARNING_RATE, OVERRIDES, PROJECT, compile_extensions, launched
from tests.integration.out_of_memory import SETTINGS as RUN_OUT
from tests.integration.out_of_memory import Injection, wrong_with
from tests.integration.resume_matrix import NEAR
from tests.integration.without_targets import OVERRIDES as FEW_OVERRIDES
from tests.integration.without_targets import assert_equals_one_process, embedded_without_targets
from tests.training.planted import ALL_AT_ONCE
from tests.training.runs import furthest, make_loop, metrics, same_bits, train, weights
from tests.training.small_data import write_embedded

#: Several groups of parameters, each with a rate of its own.
RATES = "training.layer_lr_decay=0.9"
PROBED = ["training.ema_decay=0.5", RATES]
Act = dict[str, Any]


def expected(kind: str, world_size: int, *, sharded: bool, graph: bool = True) -> dict[str, object]:
    return {
        "kind": kind,
        "world_size": world_size,
        "shards_state": sharded,
        "gradients_are_local": not sharded,
        "can_recut_batches": not sharded,
        "is_compilable": graph,
    }


PLAIN = expected("plain", 1, sharded=False)


@dataclass(frozen=True)
class Group:
    """A launch of two processes: what its engine has to say of itself, its strategies, and its acts after the contract's.

    Attributes:
        persistent: parameters of more numbers are cut under ZeRO-3; a small model would stay whole otherwise.
    """

    expected: dict[str, object]
    launch: str
    probed: str | None = None
    faulty: str | None = None
    few_targets: str | None = None
    recomputes: bool = False
    runs_out: bool = False
    fails: bool = False
    persistent: dict[str, int] = field(default_factory=dict)


GROUPS = {
    "data parallel": Group(
        expected("plain", 2, sharded=False), "multi_cpu", few_targets="multi_cpu", runs_out=True, fails=True
    ),
    "zero2": Group(
        expected("zero2", 2, sharded=True),
        "zero2",
        probed="zero2_offload",
        faulty="zero2",
        few_targets="zero2_offload",
    ),
    "zero3": Group(
        expected("zero3", 2, sharded=True, graph=False),
        "zero3",
        probed="zero3",
        faulty="zero3_offload",
        recomputes=True,
        persistent={"contract": 5000, "probe": 5000, "recompute": 0},
    ),
}
PROBED_GROUPS = [name for name, group in GROUPS.items() if group.probed]
FAULTY_GROUPS = [name for name, group in GROUPS.items() if group.faulty]
FEW_GROUPS = [name for name, group in GROUPS.items() if group.few_targets]


@dataclass(frozen=True)
class Launched:
    """What a launch left, each act in a folder of its own."""

    done: subprocess.CompletedProcess[str]
    folder: Path
    dataset: Path

    def said(self, act: str, rank: int) -> Any:
        path = self.folder / f"{act}.said.{rank}"
        assert path.exists(), f"it did not come so far:\n{self.done.stderr[-8000:]}"
        return read_json(path)


@pytest.fixture(scope="module")
def few_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_without_targets(tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedded(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def left_by_one(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's state by one process, and how the run went on."""
    folder = tmp_path_factory.mktemp("left") / "plain"
    leave({"dataset": str(dataset), "left": str(folder), "learning_rate": LEARNING_RATE, "overrides": OVERRIDES})
    return folder


@pytest.fixture(scope="module")
def launch_of(
    tmp_path_factory: pytest.TempPathFactory, dataset: Path, few_targets: Path, left_by_one: Path
) -> Callable[[str], Launched]:
    """The launch of a group, made when it is first asked for."""
    compile_extensions()
    launches: dict[str, Launched | AssertionError] = {}

    def launch_of(name: str) -> Launched:
        if name not in launches:
            try:
                launches[name] = made(name)
            except AssertionError as silence:  # once is enough for all that asks
                launches[name] = silence
        found = launches[name]
        if isinstance(found, AssertionError):
            raise found
        return found

    def made(name: str) -> Launched:
        group, folder = GROUPS[name], tmp_path_factory.mktemp(name.replace(" ", "_"))
        acts = [*_acts(group, folder, few_targets, left_by_one), *([_failure(dataset, folder)] if group.fails else [])]
        environment = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = launched(group.launch, "contract", dataset, folder / "acts", environment=environment, acts=acts)
        return Launched(done, folder, dataset)

    return launch_of


def _acts(group: Group, folder: Path, few_targets: Path, left_by_one: Path) -> list[Act]:
    def act(do: str, strategy: str, **order: Any) -> Act:
        return {"do": do, "output": str(folder / do), **_strategy(group, do, strategy, folder), **order}

    said = {do: str(folder / f"{do}.said") for do in ("contract", "faults")}
    acts = [act("contract", group.launch, said=said["contract"], expected=group.expected, overrides=[*CUT, RATES])]
    acts.append(act("leave", group.launch, left=str(folder / "left"), overrides=OVERRIDES))
    taken, sources = str(folder / "taken"), [str(left_by_one), str(folder / "left")]
    acts.append(act("take_up", group.launch, taken=taken, sources=sources, overrides=OVERRIDES))
    if group.probed:
        state = str(folder / "probe.safetensors")
        acts.append(act("probe", group.probed, state=state, overrides=[*CUT, *PROBED]))
    if group.runs_out:
        injections = [asdict(one) for one in RAN_OUT]
        acts.append(act("run_out", group.launch, injections=injections, overrides=RUN_OUT))
    if group.recomputes:
        report = str(folder / "recompute.json")
        acts.append(act("recompute", group.launch, state=report, overrides=[*CUT, "model.dropout=0.1"]))
    if group.few_targets:
        overrides = [*FEW_OVERRIDES, "training.gradient_accumulation_steps=2"]
        acts.append(act("train", group.few_targets, dataset=str(few_targets), overrides=overrides))
    if group.faulty:
        overrides = [*CUT, "training.linear_start=false"]  # which would be solved for in each of four trainings
        acts.append(act("faults", group.faulty, said=said["faults"], healthy=2, overrides=overrides))  # steps per epoch
    return acts


def _strategy(group: Group, do: str, strategy: str, folder: Path) -> Act:
    if not strategy.startswith("zero"):
        return {}
    content = json.loads((PROJECT / "ds_configs" / f"{strategy}.json").read_text())
    if do in group.persistent:
        content["zero_optimization"]["stage3_param_persistence_threshold"] = group.persistent[do]
    path = folder / f"{do}.{strategy}.json"
    path.write_text(json.dumps(content))
    return {"ds_config": str(path)}


def _failure(dataset: Path, folder: Path) -> Act:
    output = ["--output", str(folder / "fail")]
    return {"do": "fail", "command": ["train", "--data", str(dataset), *output, "--lr", str(LEARNING_RATE), *CUT]}


@pytest.fixture(scope="module")
def plain_outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("one_process")
    table = SituationTable.open(write_embedded(folder))
    loop = make_loop(load_config(None, [*CUT, RATES]), table, LEARNING_RATE)
    return dict(outcomes(Stage.of(loop, PLAIN, folder)))


@pytest.mark.parametrize("check", CHECKS)
def test_the_plain_engine_keeps_the_contract(plain_outcomes: dict[str, str], check: str) -> None:
    assert plain_outcomes[check] == ""


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", GROUPS)
def test_every_engine_keeps_the_contract(launch_of: Callable[[str], Launched], name: str, check: str) -> None:
    assert [launch_of(name).said("contract", rank)[check] for rank in (0, 1)] == ["", ""]


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_two_processes_go_on_from_what_one_left_and_one_from_what_two_left(
    launch_of: Callable[[str], Launched], left_by_one: Path, name: str
) -> None:
    """To the losses that the run would have had; and from one's own to the bit. What is saved again is what was read."""
    launch = launch_of(name)
    own, taken = launch.folder / "left", launch.folder / "taken"
    assert (taken / "1-whole" / "ends.safetensors").exists(), launch.done.stderr
    back = launch.folder / "back"
    order = {"dataset": str(launch.dataset), "learning_rate": LEARNING_RATE, "overrides": OVERRIDES}
    take_up({**order, "sources": [str(own)], "taken": str(back)})
    for ends, source in ((taken / "0-whole", left_by_one), (taken / "1-whole", own), (back / "0-whole", own)):
        assert slices_differ(ends, source) == []
        assert furthest_loss(ends, source) < NEAR
    assert same_bits(*(read_ends(folder / "ends.safetensors")[1] for folder in (taken / "1-whole", own)))


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBED_GROUPS)
def test_dropped_gradients_leave_no_trace_and_a_dry_run_changes_no_bit(
    launch_of: Callable[[str], Launched], name: str
) -> None:
    """Nor does the exchange with the average of the weights; and layers learn at their own rates, as in one process."""
    launch = launch_of(name)
    state = launch.folder / "probe.safetensors"
    assert state.exists(), launch.done.stderr
    found = read_json(state.with_suffix(".json"))
    assert found["kind"] == name and found["updated"] == [True, False, True]

    table = SituationTable.open(launch.dataset)
    loop = make_loop(load_config(None, [*OVERRIDES, *PROBED]), table, LEARNING_RATE)
    initial = loop.engine.full_state_dict()
    batches = [loop.train[start : start + 16] for start in (16, 30)]
    set_learning_rate(loop.engine.optimizer.param_groups, loop.peak)
    for batch in batches:
        loop._accumulate(batch)
        loop.engine.step()
        loop.average.update()
    expected_state = loop.engine.full_state_dict()
    assert furthest(load_file(str(state)), expected_state) < 1e-4
    assert furthest(initial, expected_state) > 1e-3
    assert found["rates"] == sorted({group["lr"] for group in loop.engine.optimizer.param_groups})
    assert len(found["rates"]) > 5
    dropped = make_loop(load_config(None, [*OVERRIDES, *PROBED]), table, LEARNING_RATE)
    assert steps_with_drops(dropped) == [True, False, True]
    assert same_bits(dropped.engine.full_state_dict(), expected_state), "so it is in the plain engine"

    losses = [loss_on_choose(loop)]
    with loop.evaluated_weights():
        averaged = loop.engine.full_state_dict()
        losses.append(loss_on_choose(loop))
    assert furthest(averaged, expected_state) > 1e-4 and abs(losses[0] - losses[1]) > 1e-4
    assert furthest(load_file(f"{state}.averaged"), averaged) < 1e-4
    assert found["losses"] == pytest.approx([*losses, losses[0]], rel=1e-4), (
        "by forward passes, before, while and after"
    )
    assert found["came back"] and found["losses"][2] == found["losses"][0]
    total = sum(parameter.numel() for parameter in loop.engine.unwrapped.parameters())
    assert sum(found["held"]) == total and max(found["held"]) < 0.55 * total, "each holds its share and no more"

    output = launch.folder / "probe"
    assert [line["updates"] for line in metrics(output)] == [0, 0]
    for epoch in (1, 2):
        assert same_bits(weights(output, epoch), initial)


@pytest.mark.slow
def test_checkpointed_blocks_change_no_bit_under_zero3(launch_of: Callable[[str], Launched]) -> None:
    """With dropout, and with even the smallest weights gathered anew for the second computation, as large ones are."""
    launch = launch_of("zero3")
    report = launch.folder / "recompute.json"
    assert report.exists(), launch.done.stderr
    found = read_json(report)
    assert found["same"] == found["tensors"] > 150
    assert found["calls"] == [4, 8], "two steps of two pieces, each computed once, or twice"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTY_GROUPS)
def test_the_dead_are_found_and_losses_that_are_no_number_stop_every_process_alike(
    launch_of: Callable[[str], Launched], name: str
) -> None:
    """Each kind of dead tensor, by name and fault, through DeepSpeed's accessors; then NaN on one process of two."""
    launch = launch_of(name)
    done, output = launch.done, launch.folder / "faults"
    first, second = (launch.said("faults", rank) for rank in (0, 1))
    assert done.returncode == 0 and first == second, done.stderr
    assert {name: tuple(faults) for name, faults in first["dead"].items()} == ALL_AT_ONCE.dead
    assert {name: list(rows) for name, rows in first["rows"].items()} == {
        name: list(rows) for name, rows in ALL_AT_ONCE.rows.items()
    }
    for dead in (*ALL_AT_ONCE.dead, *ALL_AT_ONCE.rows):
        assert dead in first["strict"] and f"Dead tensor: {dead} (module " in done.stderr
    assert "2 steps in a row had a loss or gradient that is not finite" in first["nonfinite"]
    assert f"the last good checkpoint is {output / 'spoiled' / 'checkpoints' / 'epoch_0001'}" in first["nonfinite"]
    assert "backbone.kind.weight: found [5, 96], wanted [4, 96]" in first["older"] and first["stopped"] == 130
    table = SituationTable.open(launch.dataset)
    order = epoch_order(table.split_indices["train"], seed=0, epoch=2)
    for number, batch in enumerate(global_batches(order, 24), start=1):
        ids = ", ".join(table.ids[position] for position in batch)
        assert f"Epoch 2, batch {number}: loss or gradient not finite, step skipped. Situations: {ids}\n" in done.stderr


@pytest.fixture(scope="module")
def few_plain(few_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, nothing cut."""
    output = tmp_path_factory.mktemp("few_plain")
    train(few_targets, output, load_config(None, FEW_OVERRIDES), learning_rate=LEARNING_RATE)
    return output


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW_GROUPS)
def test_two_processes_whose_pieces_lack_targets_equal_one_process(
    launch_of: Callable[[str], Launched], few_plain: Path, name: str
) -> None:
    """Each piece is two situations: nearly all of them have no target for the verdict, and some processes never have."""
    launch = launch_of(name)
    assert (launch.folder / "train" / "metrics.jsonl").exists(), launch.done.stderr
    assert_equals_one_process(launch.folder / "train", few_plain)


@pytest.mark.slow
def test_one_process_that_fails_ends_the_group_with_its_error_shown(launch_of: Callable[[str], Launched]) -> None:
    launch = launch_of("data parallel")
    assert launch.done.returncode != 0
    assert "out of memory in the optimizer's step on process 1" in launch.done.stderr
    (event,) = read_json(launch.folder / "fail" / "oom_stats" / "oom_stats.json")["events"]
    assert (event["smaller_micro_batch_size"], event["rank"], event["phase"]) == (None, 1, "optimizer")


#: Each phase, on one process or the other; two of them at the first step.
RAN_OUT = [
    Injection("optimizer", 1, 0, piece=2),
    Injection("forward", 0, 1),
    Injection("backward", 1, 3),
    Injection("evaluation", 1, 2),
    Injection("evaluation", 0, 4),
]


@pytest.mark.slow
def test_one_process_that_runs_out_of_memory_takes_the_other_along_and_the_run_ends_as_undisturbed(
    launch_of: Callable[[str], Launched], dataset: Path, tmp_path: Path
) -> None:
    launch = launch_of("data parallel")
    train(dataset, tmp_path, load_config(None, RUN_OUT), learning_rate=LEARNING_RATE)
    assert wrong_with(launch.folder / "run_out", tmp_path, RAN_OUT) == [], launch.done.stderr
    events = read_json(launch.folder / "run_out" / "oom_stats" / "oom_stats.json")["events"]
    sizes = [(one["micro_batch_size"], one["smaller_micro_batch_size"]) for one in events]
    assert sizes == [(12, 6), (6, 3), (64, 32), (3, 1), (32, 16)], "what was shrunk stays so"
