"""A stop while the start is solved for answers at the next step of the solver, and where there are several processes at a task's end."""

from __future__ import annotations

import pytest

from redheart.batches.table import SituationTable
from redheart.errors import Interrupted
from redheart.tasks import TASKS
from redheart.training.linear_start import Stopping, fit_linear_start
from tests.training.small_data import write_embedded


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SituationTable:
    return SituationTable.open(write_embedded(tmp_path_factory.mktemp("data")), needs=("train",))


class Asked:
    """Says yes the n-th time it is asked."""

    def __init__(self, number: int) -> None:
        self.number = self.left = number

    def __call__(self, asked: bool = False) -> bool:
        self.left -= 1
        return self.left <= 0


def solve(table: SituationTable, stopping: Stopping) -> None:
    train = table.split_indices["train"]
    fit_linear_start(table, train, table.statistics(train), centres=16, stopping=stopping)


@pytest.mark.parametrize("number", [1, 2, 5, 40, 80])
def test_a_process_alone_asks_at_every_step_of_a_solution(table: SituationTable, number: int) -> None:
    stop = Asked(number)
    with pytest.raises(Interrupted, match="stopped before the first step; the same command starts again") as told:
        solve(table, Stopping(stop))
    assert stop.left == 0 and told.value.exit_code == 130


def test_several_processes_agree_before_each_task_and_nowhere_else(table: SituationTable) -> None:
    alone, agreed = Asked(10**9), Asked(10**9)
    solve(table, Stopping(alone, agreed))
    times = agreed.number - agreed.left
    assert times == alone.number - alone.left == 2 * len(TASKS), "as often on every process"
    with pytest.raises(Interrupted):
        solve(table, Stopping(lambda: False, Asked(3)))
