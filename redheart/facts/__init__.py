"""Facts that files hold and several stages read: scores, comparisons, where a model comes from. Imports no torch."""
