"""Tasks that steer their worker, for processes to import."""

from __future__ import annotations

import os

from celerant import Celerant, Ignore, Reject, chain, group

__all__ = ["app"]

app = Celerant("control-tasks", broker="memory://", backend="memory://")


class BurstError(Exception):
    """The error of the tasks."""


@app.task
def add(x, y):
    """Add two values."""
    return x + y


@app.task
def pid():
    """Say in which process it runs."""
    return os.getpid()


@app.task(bind=True, max_retries=3)
def again(self, times):
    """Run again so many times; return the fields of the last request."""
    if self.request.retries < times:
        raise self.retry(exc=BurstError("not yet", times), countdown=0)
    return [self.request.retries, self.request.id, self.request.args]


@app.task(autoretry_for=(BurstError,), retry_kwargs={"max_retries": 2, "countdown": 0})
def auto(text):
    """Fail until the retries are spent."""
    raise BurstError(text)


@app.task(bind=True)
def retry_unsendable(self, value=None):
    """Ask for a retry that no serializer takes."""
    raise self.retry(args=({1, 2},), countdown=0)


@app.task(bind=True)
def replace_by(self, how):
    """Let other work take the place."""
    canvases = {
        "task": lambda: add.s(1, 2),
        "group": lambda: group(add.s(1, 2), add.s(3, 4)),
        "chain": lambda: chain(add.s(1, 2), add.s(3)),
        "unknown": lambda: add.s(1, 2).set(no_such_option=1),
    }
    return self.replace(canvases[how]())


@app.task
def ignore():
    """Leave no trace."""
    raise Ignore("why")


@app.task
def reject():
    """Refuse the message."""
    raise Reject("not for me", requeue=False)


@app.task(bind=True)
def progress(self, meta):
    """Store a state of its own, and return."""
    self.update_state(state="PROGRESS", meta=meta)
    return "done"


@app.task(bind=True)
def swallow(self, times):
    """Catch its own retry, as careless tasks do."""
    if self.request.retries < times:
        try:
            self.retry(countdown=0)
        except Exception:  # noqa: BLE001 - what such tasks write
            return "swallowed"
    return "ran again"


@app.task(bind=True, max_retries=1)
def limit(self):
    """Ask for more than it may."""
    raise self.retry(countdown=0)
