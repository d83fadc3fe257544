"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "note", "ok", "problem", "warning"]

#: A problem stops tasks or loses messages; a warning may do so one day; a note tells.
Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    #: What was looked at: ``"broker"``, ``"store"``, ``"queues"``, ``"workers"``, ...
    about: str
    #: What is so.
    text: str
    #: What to do; empty if nothing is to be done.
    remedy: str = ""


def ok(about: str, text: str) -> Finding:
    """Say that it is well."""
    return Finding("ok", about, text)


def note(about: str, text: str, remedy: str = "") -> Finding:
    """Say what is good to know."""
    return Finding("note", about, text, remedy)


def warning(about: str, text: str, remedy: str) -> Finding:
    """Say what may do harm one day."""
    return Finding("warning", about, text, remedy)


def problem(about: str, text: str, remedy: str) -> Finding:
    """Say what stops tasks or loses messages."""
    return Finding("problem", about, text, remedy)
