"""The training: trainer, loop, callbacks, optimizer, schedule, records, and a trial of the sweep."""
