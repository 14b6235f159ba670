"""Tables of messages, one per stage: key -> (Korean, English)."""
