"""What a dispatch notes may be noted again by whoever was interrupted."""

from __future__ import annotations

import pytest

from celerant import chord, group
from celerant._core import Fate, Ledger
from celerant.dispatch.dispatching import Many


@pytest.fixture
def chunk(app, monkeypatch):
    """A chunk of one task and one chord, which is three messages, and its ledger."""
    found = []

    @app.task(name="noted")
    def noted(*_args):
        """Never run."""

    def keep(self, _carrier, chunk, *, is_amid):
        del is_amid
        found.append((chunk, self._ledger))

    monkeypatch.setattr(Many, "_send", keep)
    header = [noted.s(i) for i in range(3)]
    group([noted.s(), chord(header, noted.s())]).apply_async()
    return found[0]


def test_a_chunk_is_told_once(chunk):
    part, ledger = chunk
    ledger.mark(part, Fate.CONFIRMED)
    ledger.mark(part, Fate.CONFIRMED)
    ledger.mark(part, Fate.UNKNOWN)
    assert ledger.intervals(Fate.CONFIRMED) == [(0, 2)]


def test_the_parts_of_a_chunk_are_told_once(chunk):
    part, ledger = chunk
    for _ in range(2):
        ledger.mark_parts(part, [([0], Fate.REJECTED), ([1, 1, 1], Fate.CONFIRMED)])
    assert ledger.intervals(Fate.REJECTED) == [(0, 1)]
    assert ledger.intervals(Fate.CONFIRMED) == [(1, 2)]


def test_a_message_is_closed_once(chunk):
    part, ledger = chunk
    positions = set(range(len(part)))
    for _ in range(2):
        for position, index in enumerate([0, 1, 1, 1]):
            ledger.close(positions, position, index, Fate.CONFIRMED)
    assert positions == set()
    assert ledger.intervals(Fate.CONFIRMED) == [(0, 2)]


def test_a_position_that_is_not_open_changes_nothing():
    ledger = Ledger()
    ledger.grow(1)
    ledger.close(set(), 0, 0, Fate.CONFIRMED)
    assert ledger.intervals(Fate.UNSENT) == [(0, 1)]
