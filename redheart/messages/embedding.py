"""Messages of the stage ``embedding``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
