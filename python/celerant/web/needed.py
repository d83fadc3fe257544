"""Names the extra ``web``, before `celerant.starlette` names its own."""

from __future__ import annotations

from celerant.common.extras import extra

extra("starlette", of="web", needed_by="celerant.web")
