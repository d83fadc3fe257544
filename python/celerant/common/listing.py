"""What `dir` lists, and so what editors and IPython complete: what users need."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

__all__ = ["without"]


def without(thing: object, internal: AbstractSet[str]) -> list[str]:
    """Return the names of a thing but for those that only the package uses."""
    return [name for name in object.__dir__(thing) if name not in internal]
