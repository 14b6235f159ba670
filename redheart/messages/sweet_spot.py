"""Messages of the stage ``sweet_spot``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
