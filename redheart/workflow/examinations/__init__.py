"""Examinations of the machine and the model: they look, tell what is missing, and start nothing."""
