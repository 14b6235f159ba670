"""Checkpoints from one form into another, whoever wrote them, a slice of a tensor at a time and without running a pickle."""

from redheart.consolidation.conversion import Converted, convert
from redheart.consolidation.forms.recognition import open_source
from redheart.consolidation.source import Source

__all__ = ["Converted", "Source", "convert", "open_source"]
