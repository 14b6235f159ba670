"""Messages of the stage ``workflow``: key -> (Korean, English)."""

MESSAGES: dict[str, tuple[str, str]] = {}
