"""The supervisor of a training's processes: starts them, hands signals on, and starts them again where that is the remedy.

``supervisor`` decides, ``group`` runs one attempt, ``rank`` is the other side: what a process that was started says of itself.
"""
