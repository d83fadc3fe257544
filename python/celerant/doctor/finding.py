"""A finding: one thing that was checked, and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Level", "note", "ok", "problem", "warning"]

#: A problem stops tasks or loses messages, a warning may do so one day, and a note
#: informs.
Level = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked."""

    level: Level
    #: The checked thing: ``"broker"``, ``"store"``, ``"queues"``, ``"workers"``, ...
    about: str
    #: Its state, in words.
    text: str
    #: What the user should do; empty if nothing is needed.
    remedy: str = ""


def ok(about: str, text: str) -> Finding:
    """Return the finding that a thing is in order."""
    return Finding("ok", about, text)


def note(about: str, text: str, remedy: str = "") -> Finding:
    """Return a finding that is good to know."""
    return Finding("note", about, text, remedy)


def warning(about: str, text: str, remedy: str) -> Finding:
    """Return a finding that may do harm one day."""
    return Finding("warning", about, text, remedy)


def problem(about: str, text: str, remedy: str) -> Finding:
    """Return a finding that stops tasks or loses messages."""
    return Finding("problem", about, text, remedy)
