"""An app whose chord bodies take the result of their header, for workers of any kind.

Its name and its services come through the environment, so that a worker in another
process has the same.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from celerant import Celerant

if TYPE_CHECKING:
    from celerant import GroupResult

__all__ = ["app", "stock"]

_URLS = {
    "broker": os.environ.get("CELERANT_TEST_BROKER"),
    "backend": os.environ.get("CELERANT_TEST_BACKEND"),
}
app = Celerant(
    os.environ.get("CELERANT_TEST_NAME", "celerant-test-headers"),
    **{name: url for name, url in _URLS.items() if url},
    task_default_queue=os.environ.get("CELERANT_TEST_NAME", "celerant-test-headers"),
    result_expires=600,
)


@app.task(name="headers.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="headers.quiet", ignore_result=True)
def quiet(x: int) -> int:
    return x


@app.task(name="headers.fail")
def fail(x: int) -> int:
    raise ValueError(x)


@app.task(name="headers.call_body_itself")
def call_body_itself(x: int) -> int:
    """Send the body of its own chord, as a user may, with a list."""
    gather.delay([1, 2])
    return x


@app.task(name="headers.gather")
def gather(values: GroupResult[int], note: str = "") -> list[Any]:
    """Say what it was given, and all its values."""
    logging.getLogger("celerant").info("gather runs in process %d", os.getpid())
    if isinstance(values, list):
        return ["list", values, note]
    came = {member.index: member.get() for member in values.as_completed(timeout=30)}
    assert values.get(timeout=30) == [came[index] for index in sorted(came)]
    return [type(values).__name__, [came[index] for index in sorted(came)], note]


@app.task(name="headers.shape")
def shape(values: GroupResult[Any]) -> Any:
    """Return the values of a header that has groups in it."""
    return values.get(timeout=30)


@app.task(name="headers.echo")
def echo(value: Any) -> Any:
    return value


@app.task(name="headers.size")
def size(message: GroupResult[int]) -> int:
    return len(message)


try:
    stock = app.to_celery()
except Exception:  # noqa: BLE001 - the package celery is missing
    stock = None
