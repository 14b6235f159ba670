"""Ports by which the processes of a group meet: a free one, and whether one is taken."""

from __future__ import annotations

import socket

#: What libraries say of a port that is taken.
_SAYINGS = ("eaddrinuse", "address already in use", "is already in use")


def free_port() -> int:
    """One that nobody has at the moment; somebody may take it before it is used."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def is_taken(port: int) -> bool:
    """Whether another process has it."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", port))
        except OSError:
            return True
    return False


def tells_of_taken_port(message: str) -> bool:
    """Whether an error's text says that a port was taken."""
    return any(saying in message.lower() for saying in _SAYINGS)
