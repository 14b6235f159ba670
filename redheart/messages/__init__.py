"""What the program says to people, in Korean and English, from one catalogue."""

from redheart.messages.catalog import LANGUAGES, Language, language, set_language, text
from redheart.messages.log import LOGGER_NAME, forget_new_log, note, say, set_up_logging, warn, warn_even_if_quiet

__all__ = [
    "LANGUAGES",
    "LOGGER_NAME",
    "Language",
    "forget_new_log",
    "language",
    "note",
    "say",
    "set_language",
    "set_up_logging",
    "text",
    "warn",
    "warn_even_if_quiet",
]
