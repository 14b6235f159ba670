"""The data as training sees it: the table of situations, the order of an epoch, the cut into micro-batches."""
