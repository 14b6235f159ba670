"""Messages for people, in Korean and English, from one catalogue."""

from redheart.messages.catalog import LANGUAGES, Language, language, set_language, text
from redheart.messages.log import LOGGER_NAME, debug, forget_new_log, info, set_up_logging, warn, warn_even_if_quiet

__all__ = [
    "LANGUAGES",
    "LOGGER_NAME",
    "Language",
    "debug",
    "forget_new_log",
    "info",
    "language",
    "set_language",
    "set_up_logging",
    "text",
    "warn",
    "warn_even_if_quiet",
]
