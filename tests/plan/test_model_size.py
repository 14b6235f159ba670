"""The table of counted activations, counted again."""

from __future__ import annotations

import pytest

from redheart.machine import Precision
from redheart.model import dimensions
from redheart.model.parameters import count_parameters
from redheart.plan.activations import Activations, count_activations
from redheart.plan.model_size import COUNTED, ModelSize

ALL = [(preset, "bf16" if is_wide else "no", recomputes) for preset, is_wide in COUNTED for recomputes in (False, True)]


def is_near(found: Activations, counted: Activations) -> bool:
    pairs = ((found.once, counted.once), (found.a_situation, counted.a_situation), (found.inside, counted.inside))
    return all(one == pytest.approx(two, rel=0.01, abs=200_000) for one, two in pairs)


@pytest.mark.parametrize(
    ("preset", "precision", "recomputes"),
    [one if one[0] == "tiny" else pytest.param(*one, marks=pytest.mark.slow) for one in ALL],
)
def test_the_table_is_what_is_counted(preset: str, precision: Precision, recomputes: bool) -> None:
    told = COUNTED[preset, precision != "no"].activations(16, recomputes=recomputes)
    assert is_near(count_activations(dimensions(preset), precision=precision, recomputes=recomputes, segments=16), told)


def test_it_holds_for_shorter_sequences_and_wider_vectors() -> None:
    counted = count_activations(dimensions("tiny", d_embed=768), precision="no", recomputes=False, segments=5)
    told = COUNTED["tiny", False].activations(5, recomputes=False)
    assert counted.a_situation == pytest.approx(told.a_situation, rel=0.03)


def test_a_size_is_that_of_the_preset() -> None:
    size = ModelSize.of("tiny", d_embed=384, segments=16, precision="no")
    assert size.parameters == count_parameters("tiny").total
    assert 0 < size.largest_layer < size.parameters
    assert size.recomputed.a_situation < size.activations.a_situation
