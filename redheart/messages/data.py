"""Messages of the stage ``data``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
