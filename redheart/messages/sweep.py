"""Messages of the stage ``sweep``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
