"""Answers to workers that start, and what is taken in of others' answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celerant.worker.commands import COMMANDS
from celerant.worker.mingling import _take_in
from celerant.worker.worker_state import WorkerState


@pytest.fixture
def panel():
    made = SimpleNamespace(
        hostname="here@test",
        identity="me",
        worker_state=WorkerState(),
        end_revoked=lambda: None,
    )
    made.worker_state.revoked.add(["known"])
    return made


@pytest.mark.parametrize(
    "question",
    [
        {"from_node": "here@test"},
        {"from_node": "here@test", "sender": "me"},
    ],
)
def test_a_worker_does_not_answer_itself(panel, question):
    assert COMMANDS["hello"](panel, **question) is None


@pytest.mark.parametrize(
    "question",
    [
        {"from_node": "there@test", "revoked": ["new"]},
        {"from_node": "here@test", "revoked": ["new"], "sender": "another"},
    ],
)
def test_another_worker_is_answered_even_if_it_has_the_same_name(panel, question):
    panel.worker_state.clock.adjust(6)
    answer = COMMANDS["hello"](panel, **question)
    assert answer == {"revoked": ["known", "new"], "clock": 8}


@pytest.mark.parametrize("revoked", [["a", "b"], {"a": 1.5, "b": 2.5}])
def test_ids_of_an_answer_are_revoked(panel, revoked):
    _take_in(panel, {"there@test": {"revoked": revoked, "clock": 3}}, None)
    assert panel.worker_state.revoked.ids() == ["known", "a", "b"]
    assert panel.worker_state.clock.value == 4


@pytest.mark.parametrize(
    "answer",
    [
        None,
        ["there@test"],
        {"there@test": None},
        {"there@test": {"error": "no", "clock": "late"}},
        {"there@test": {"revoked": "abc"}},
        {"there@test": {"revoked": [["a"], 1, None]}},
    ],
)
def test_an_answer_that_makes_no_sense_revokes_nothing(panel, answer):
    _take_in(panel, answer, None)
    assert panel.worker_state.revoked.ids() == ["known"]
