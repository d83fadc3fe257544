"""An app's result backend, and the parts of the app that it uses."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

from celerant.app.broadcasting import no_worker_here
from celerant.app.unpickling import result_of
from celerant.config.default_backend import backend_reach, backend_url
from celerant.results.backends import make_backend

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.backends.base import Backend

__all__ = ["open_backend"]


def open_backend(app: Celerant) -> Backend:
    """Return the store of an app's results, not yet connected."""
    backend = make_backend(
        backend_url(app.conf),
        app.name,
        app.conf,
        app.connection_for_read,
        backend_reach(app.conf),
    )
    backend.app = weakref.ref(app)
    backend.revoke = app.control.revoke
    backend.revoke_by_stamped_headers = app.control.revoke_by_stamped_headers
    backend.obstacle = partial(no_worker_here, app)
    backend.unpickle = partial(result_of, app.name, app.module)
    return backend
