from __future__ import annotations

import json

import pytest

from celerant.doctor.finding import note, ok, problem, warning

FOUND = [
    ok("versions", "first"),
    warning("broker", "second", "mend it"),
    note("queues", "third"),
    problem("store", "fourth", "start it"),
    warning("workers", "fifth", "mend it"),
    problem("workers", "sixth", "start one"),
]


@pytest.fixture(autouse=True)
def found(monkeypatch):
    monkeypatch.setattr("celerant.cli.doctor.examine", lambda _app, **_: iter(FOUND))


def told(out):
    """Return the texts of the printed findings, in order."""
    lines = [line for line in out.splitlines() if ": " in line and "->" not in line]
    return [line.rpartition(": ")[2] for line in lines[:-1]]


def test_findings_are_printed_by_their_level_and_problems_first(run):
    code, out, _ = run("doctor")
    assert code == 1
    assert told(out) == ["fourth", "sixth", "second", "fifth", "third"]
    assert "PROBLEM  store: fourth\n         -> start it\n" in out
    assert told(run("doctor", "-v")[1])[-1] == "first"


def test_json_has_them_in_the_order_of_the_checks(run):
    out = json.loads(run("doctor", "--json")[1])
    assert [one["text"] for one in out["findings"]] == [one.text for one in FOUND]
