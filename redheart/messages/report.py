"""Messages of the stage ``report``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
