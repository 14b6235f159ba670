"""What the program says to people, in Korean and English, from one catalogue."""

from redheart.messages.catalog import LANGUAGES, Language, language, set_language, text
from redheart.messages.log import LOGGER_NAME, note, say, set_up_logging, warn

__all__ = [
    "LANGUAGES",
    "LOGGER_NAME",
    "Language",
    "language",
    "note",
    "say",
    "set_language",
    "set_up_logging",
    "text",
    "warn",
]
