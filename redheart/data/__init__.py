"""The dataset: schema, validation, splits, targets, and where its file is looked for.

``facts``, ``targets`` and ``sufficiency`` need numpy and are imported by their own names.
"""

from redheart.data.locate import Located, locate_dataset
from redheart.data.reader import iter_situations, read_dataset
from redheart.data.schema import Situation
from redheart.data.splits import SPLITS, Split, split_of

__all__ = ["SPLITS", "Located", "Situation", "Split", "iter_situations", "locate_dataset", "read_dataset", "split_of"]
