"""Callbacks: what happens beside the steps of a training, one file each; ``callback.py`` says at which moments."""
