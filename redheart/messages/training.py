"""Messages of the stage ``training``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
