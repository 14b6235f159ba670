"""Typed facts in files that several stages read: scores, comparisons, where a model comes from. Imports no torch."""
