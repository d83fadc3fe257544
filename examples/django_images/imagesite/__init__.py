"""The project; importing it makes the app that the tasks belong to."""

from imagesite.celerant import app

__all__ = ["app"]
