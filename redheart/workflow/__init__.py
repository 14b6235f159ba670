"""The stages in order, and what each hands to the next: paths, never objects that only live in memory."""
