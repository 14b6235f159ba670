"""Callbacks: what happens beside the steps of a training, one per file; ``callback.py`` defines their moments."""
