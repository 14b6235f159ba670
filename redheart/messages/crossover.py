"""Messages of the stage ``crossover``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
