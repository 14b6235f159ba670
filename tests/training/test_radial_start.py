"""The radial paths start at a kernel machine of the training split; scikit-learn and the kernel itself are the witnesses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from redheart.batches.table import SituationTable
from redheart.model import UnifiedModel, dimensions
from redheart.model.modules.radial_basis import rbf_activations
from redheart.model.modules.views import linear_views
from redheart.model.unified import normalise
from redheart.training.linear_start import apply_linear_start, centres_of, fit_linear_start, start_linear_paths
from redheart.training.linear_start.feature_space import MAX_DECOMPOSITION
from redheart.training.linear_start.fit import RADIAL_WEIGHTS
from redheart.training.linear_start.ridge import PENALTIES
from tests.training.small_data import D_EMBED, embedded_items, write_embedded

NUMBERS = ("bentham", "regret", "surd")


@pytest.fixture
def table(tmp_path: Path) -> SituationTable:
    return SituationTable.open(write_embedded(tmp_path), needs=("train",))


def _views(table: SituationTable, indices: np.ndarray) -> torch.Tensor:
    batch = table.batch(indices)
    return linear_views(normalise(batch.segments, batch.segment_mask), batch.segment_mask, batch.kinds).double()


def _model(table: SituationTable, centres: int) -> UnifiedModel:
    torch.manual_seed(0)
    dims = replace(dimensions("tiny", d_embed=table.d_embed), centres=centres)
    return UnifiedModel(dims, table.statistics(table.split_indices["train"])).eval()


def _start(table: SituationTable, task: str, centres: int) -> torch.Tensor:
    """What the paths of ``task`` alone say of all situations, by the model's own layers."""
    model, train = _model(table, centres), table.split_indices["train"]
    start_linear_paths(model, table, train, model.statistics)
    views = _views(table, np.arange(len(table.ids))).float()
    head = model.get_submodule(f"heads.{task}")
    with torch.no_grad():
        return head.linear(views) + head.radial(model.get_submodule("backbone.radial_basis")(views))


@pytest.mark.parametrize("centres", [47, 200])
def test_numbers_are_kernel_ridge_regression_with_a_story_a_centre(table: SituationTable, centres: int) -> None:
    """Solved in its dual form, from the kernel's matrix, on stories that it was and that it was not fitted to."""
    train = table.split_indices["train"]
    assert len(train) == 47
    statistics = table.statistics(train)
    found = fit_linear_start(table, train, statistics, centres=centres)
    everything, views = _views(table, np.arange(len(table.ids))), _views(table, train)
    for task in NUMBERS:
        start = found[task]
        scale = start.radial_weight * D_EMBED**0.5

        def kernel(one: torch.Tensor, other: torch.Tensor, scale: float = scale) -> torch.Tensor:
            return one @ other.T + scale**2 * rbf_activations(one, other)

        own = kernel(views, views)
        centring = torch.eye(47, dtype=torch.float64) - 1 / 47
        size = float((centring @ own @ centring).diagonal().mean())
        target = statistics.standardise(task, torch.from_numpy(table.targets.values[task][train])).double()
        said = _start(table, task, centres)
        for column, penalty in enumerate(start.penalties):
            dual = torch.linalg.solve(
                centring @ own @ centring + penalty * size * torch.eye(47, dtype=torch.float64),
                target[:, column] - target[:, column].mean(),
            )
            across = (kernel(everything, views) - own.mean(dim=0)) @ centring
            wanted = across @ dual + target[:, column].mean()
            torch.testing.assert_close(said[:, column].double(), wanted, atol=5e-3, rtol=2e-3)


def test_penalty_and_weight_of_nearness_have_the_least_leave_one_out_error(table: SituationTable) -> None:
    """By leaving one out in earnest, with the same centres."""
    train = table.split_indices["train"]
    statistics = table.statistics(train)
    start = fit_linear_start(table, train, statistics, centres=47)["regret"]
    views = _views(table, train)
    target = statistics.standardise("regret", torch.from_numpy(table.targets.values["regret"][train])).double()[:, 0]
    errors: dict[tuple[float, float], float] = {}
    for weight in RADIAL_WEIGHTS:
        kernel = views @ views.T + weight**2 * D_EMBED * rbf_activations(views, views)
        whole = torch.eye(47, dtype=torch.float64) - 1 / 47
        size = float((whole @ kernel @ whole).diagonal().mean())
        for penalty in PENALTIES:
            error = 0.0
            for left in range(47):
                kept = torch.tensor([item for item in range(47) if item != left])
                centring = torch.eye(46, dtype=torch.float64) - 1 / 46
                inner, y = kernel[kept][:, kept], target[kept]
                matrix = centring @ inner @ centring + penalty * size * torch.eye(46, dtype=torch.float64)
                dual = centring @ torch.linalg.solve(matrix, y - y.mean())
                error += float((y.mean() + (kernel[left, kept] - inner.mean(dim=0)) @ dual - target[left]) ** 2)
            errors[weight, penalty] = error
    assert min(errors, key=lambda key: errors[key]) == (start.radial_weight, start.penalties[0])


def test_what_is_not_linear_is_found_from_the_start(tmp_path: Path) -> None:
    """Regret that depends on the product of two coordinates: the linear views know nothing of it."""
    items = embedded_items()
    generator = np.random.default_rng(0)
    for item in items:
        corner = generator.choice([-1.0, 1.0], 2)
        vectors = 0.1 * generator.standard_normal((4, D_EMBED))
        vectors[:, :2] += corner
        item["embedding"], item["embedding_kinds"] = vectors.tolist(), [0, 1, 2, 3]
        item["regret_factor"] = 0.5 + 0.4 * float(corner[0] * corner[1])
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    rest = np.setdiff1d(np.arange(len(items)), train)
    target = torch.from_numpy(table.targets.values["regret"])[:, 0]
    statistics = table.statistics(train)
    said = statistics.restore("regret", _start(table, "regret", 64))[:, 0]
    spread = float((target[rest] - target[train].mean()).square().mean())
    assert float((said[rest] - target[rest]).square().mean()) < 0.05 * spread


def test_centres_are_training_stories_and_where_there_are_too_few_what_lies_between_them(table: SituationTable) -> None:
    train = table.split_indices["train"]
    views = _views(table, train).float()
    few = fit_linear_start(table, train, table.statistics(train), centres=10)
    nearest = torch.cdist(few.centres, views).argmin(dim=1)
    assert torch.equal(few.centres, views[nearest]) and len(set(nearest.tolist())) == 10
    many = fit_linear_start(table, train, table.statistics(train), centres=100)
    assert torch.equal(many.centres[:47], views) and torch.unique(many.centres, dim=0).shape[0] > 95
    for task in NUMBERS:
        assert many[task].radial[:, :47].any() and not many[task].radial[:, 47:].any()


def test_stories_with_more_targets_come_first_as_centres(tmp_path: Path) -> None:
    items = embedded_items()
    for item in items[::2]:
        for field in ("emotions", "bentham_scores", "regret_factor", "surd_metrics"):
            item.pop(field, None)
    table = SituationTable.open(write_embedded(tmp_path, items), needs=("train",))
    train = table.split_indices["train"]
    full = train[train % 2 == 1]
    found = fit_linear_start(table, train, table.statistics(train), centres=len(full) + 5)
    nearest = torch.cdist(found.centres, _views(table, train).float()).argmin(dim=1)
    assert set(full) < set(train[nearest]) and len(set(nearest.tolist())) == len(full) + 5
    fewer = fit_linear_start(table, train, table.statistics(train), centres=10)
    nearest = torch.cdist(fewer.centres, _views(table, train).float()).argmin(dim=1)
    assert set(train[nearest]) < set(full)


@pytest.mark.parametrize("d_embed", [384, 768, 1024])
def test_nearness_takes_no_story_from_the_solution(d_embed: int) -> None:
    """With more axes than are decomposed a quarter of the stories would be fitted."""
    assert 4 * d_embed + dimensions("730m", d_embed=d_embed).centres <= MAX_DECOMPOSITION


def test_a_start_for_another_number_of_centres_is_refused(table: SituationTable) -> None:
    train = table.split_indices["train"]
    model = _model(table, 8)
    assert centres_of(model) == 8
    with pytest.raises(ValueError, match="a start with 12 centres for a model with 8"):
        apply_linear_start(model, fit_linear_start(table, train, table.statistics(train), centres=12))
