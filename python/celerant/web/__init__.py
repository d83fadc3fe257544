"""A page for groups, and a web component for pages of your own (the extra ``web``).

``celerant web -A module:app`` serves it; `make_site` returns it as an ASGI app to be
mounted in another one; `sign` makes the token that `<celerant-progress>` shows.
"""

from __future__ import annotations

import celerant.web.needed  # noqa: F401 - before any module that imports Starlette

# isort: split
from celerant.web.site import make_site
from celerant.web.tokens import read, sign

__all__ = ["make_site", "read", "sign"]
