"""Messages of the stage ``model``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
