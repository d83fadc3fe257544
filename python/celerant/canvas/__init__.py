"""Tasks that are sent together and awaited together.

The classes of all kinds are loaded at once, so that each canvas is read by its own.
"""

from celerant.canvas import chain, chord, group, mapping, signature

__all__ = ["chain", "chord", "group", "mapping", "signature"]
