"""What stays of a run's epochs on a disk that does not hold them all, module by module."""
