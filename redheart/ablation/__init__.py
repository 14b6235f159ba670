"""The ablation: the model trained with each group of modules removed in turn, against the whole, seed by seed."""

from redheart.ablation.ablation import run_ablation
from redheart.ablation.result import AblationResult, Row
from redheart.ablation.table import as_table

__all__ = ["AblationResult", "Row", "as_table", "run_ablation"]
