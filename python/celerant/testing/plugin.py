"""The pytest plugin: apps and workers in memory, and assertions about sent tasks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.testing.recording import Sent
    from celerant.worker import Worker

__all__: list[str] = []

_INI = "celerant_app"
_MEMORY = "memory://"
#: Settings that would keep messages or results out of memory.
_IN_MEMORY: dict[str, Any] = {
    "broker_url": _MEMORY,
    "broker_read_url": None,
    "broker_write_url": None,
    "result_backend": _MEMORY,
    "broker_transport_options": {},
    "broker_use_ssl": False,
    "task_always_eager": False,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option for the project's app."""
    text = "module:attribute of the app that celerant_app puts into memory"
    parser.addini(_INI, text, default="")


@pytest.fixture
def celerant_config() -> dict[str, Any]:
    """Return settings for `celerant_app`, by name; override it in your tests."""
    return {}


@pytest.fixture
def celerant_app(
    request: pytest.FixtureRequest, celerant_config: dict[str, Any]
) -> Iterator[Celerant]:
    """Return an app whose messages and results stay in memory for one test.

    It is the project's own app if the ini option ``celerant_app`` names it, and its
    settings are restored afterwards. Otherwise it is a new app without tasks.
    """
    from celerant.app import Celerant  # noqa: PLC0415 - most tests need no app
    from celerant.app.loading import load_app  # noqa: PLC0415 - the same

    path = request.config.getini(_INI)
    app = load_app(path, "celerant_app = ") if path else Celerant("celerant-test")
    with _in_memory(app, celerant_config):
        yield app


@contextmanager
def _in_memory(app: Celerant, settings: dict[str, Any]) -> Iterator[None]:
    changes = {**_IN_MEMORY, **settings}
    before = {name: app.conf[name] for name in changes}
    # A setting's default may depend on other settings, so unset ones are removed
    # again and not set to their defaults.
    unset = [name for name in changes if not app.conf.is_set(name)]
    app.close()
    app.conf.update(changes)
    try:
        yield
    finally:
        _drop_messages(app)
        app.close()
        app.conf.update(before)
        for name in unset:
            delattr(app.conf, name)


def _drop_messages(app: Celerant) -> None:
    """Purge the queues, so that the next test gets no message of this one."""
    with app.connection_for_write() as connection:
        if connection.transport.driver_type != "memory":
            # Messages of others may wait there.
            return
        for queue in list(app.queues.values()):
            bound = queue.bind(connection.default_channel)
            bound.declare()
            bound.purge()


@pytest.fixture
def celerant_worker(celerant_app: Celerant) -> Iterator[Worker]:
    """Run a worker of `celerant_app` in this process, with two tasks at a time.

    It consumes all queues to which the app's tasks are routed.
    """
    from celerant.app.task_queues import queues_of_tasks  # noqa: PLC0415 - as above

    queues = list(queues_of_tasks(celerant_app))
    with celerant_app.worker(concurrency=2, queues=queues) as worker:
        yield worker


@pytest.fixture
def celerant_eager(celerant_app: Celerant) -> Iterator[Celerant]:
    """Return `celerant_app` with tasks that run in the caller and raise there."""
    names = ("task_always_eager", "task_eager_propagates")
    before = {name: celerant_app.conf[name] for name in names}
    celerant_app.conf.update(dict.fromkeys(names, True))
    try:
        yield celerant_app
    finally:
        celerant_app.conf.update(before)


@pytest.fixture
def assert_sent(celerant_app: Celerant) -> Iterator[Sent]:  # noqa: ARG001 - keeps messages in memory
    """Record messages that leave; ``assert_sent(add.s(1))`` asserts that one did."""
    from celerant.testing.recording import Sent  # noqa: PLC0415 - most tests need no app

    sent = Sent()
    with sent.recording():
        yield sent


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Show two differing canvases as text, line by line."""
    if op != "==":
        return None
    from celerant.canvas.base import Canvas  # noqa: PLC0415 - only for failed tests

    if not (isinstance(left, Canvas) and isinstance(right, Canvas)):
        return None
    from celerant.canvas.reading import text_of  # noqa: PLC0415 - the same

    ours, theirs = text_of(left).splitlines(), text_of(right).splitlines()
    diff = [line for line in difflib.ndiff(theirs, ours) if line[0] != "?"]
    if ours == theirs:
        diff.append("they differ in ids alone")
    return [f"{_kind(left)} == {_kind(right)}", "- is expected, + is found", *diff]


def _kind(canvas: Any) -> str:
    return f"<{canvas.get('subtask_type') or canvas.get('task')}>"
