from __future__ import annotations

import itertools
import sys
import types

import pytest

from celerant import Celerant, cli
from celerant.results.backends import open_backend
from celerant.results.backends.memory import MemoryBackend
from harness.capture import drain

_numbers = itertools.count()


@pytest.fixture
def module(monkeypatch):
    """A module with an app whose results outlive a command, as on a shared store."""
    name = f"clidesk{next(_numbers)}"
    monkeypatch.setattr(MemoryBackend, "supports_handles", True)
    monkeypatch.setattr(MemoryBackend, "handle_key", lambda _store: b"k" * 32)
    made = types.ModuleType(name)
    made.app = Celerant(name, task_default_queue=name)
    monkeypatch.setitem(sys.modules, name, made)

    @made.app.task
    def add(x, y=0):
        return x + y

    @made.app.task
    def fail(*_args):
        msg = "no"
        raise ValueError(msg)

    made.add, made.fail = add, fail
    # A command closes its app, and the last user of a store in memory empties it.
    keeper = open_backend("memory://", name=name)
    keeper.fetch([])
    yield made
    keeper.close()
    made.app.close()
    drain("memory://", name)


@pytest.fixture
def run(module, capsys):
    """Return a function that runs a command on the app; gives code, text and errors."""

    def run(*arguments):
        code = cli.main([*arguments, "-A", module.__name__])
        return code, *capsys.readouterr()

    return run
