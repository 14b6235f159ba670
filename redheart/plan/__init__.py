"""The plan: which strategies a model trains by in the memory that is there, what each takes and costs, and which one it is."""
