"""The workflow: the stages in order, and the paths, never objects in memory, that each hands to the next."""
