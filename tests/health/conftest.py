"""A small embedded dataset and the settings of a small run."""

from tests.training.fixtures import dataset, linear_start_once, logged, one_thread, settings, table

__all__ = ["dataset", "linear_start_once", "logged", "one_thread", "settings", "table"]
