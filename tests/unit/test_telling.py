"""What comes from outside is told in one line that is not too long."""

from __future__ import annotations

import logging

import pytest

from celerant.telling import Lines, line, shown


class Hostile:
    def __repr__(self):
        raise RecursionError

    __str__ = __repr__


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("plain text, ünïcode", "plain text, ünïcode"),
        ("a\nb\r\n\tc", "a b c"),
        ("\x1b[31mred\x00", r"\x1b[31mred\x00"),
        ("\u202ereversed", r"\u202ereversed"),
        ("lone \ud800", r"lone \ud800"),
        ("two\u2028lines\x85three", "two lines three"),
        (Hostile(), "<Hostile that cannot be shown: RecursionError>"),
        (ValueError("one\ntwo"), "one two"),
        ("x" * 1000, "x" * 197 + "..."),
        ("\n" * 1000 + "x", ""),
    ],
)
def test_anything_is_told_in_one_short_line(told, text):
    assert line(told) == text


def test_a_repr_is_told_likewise():
    assert shown("a\nb") == r"'a\nb'"
    assert shown(Hostile()) == "<Hostile that cannot be shown: RecursionError>"
    assert len(shown("x" * 10**6)) == 200
    assert shown(10**5000).startswith("<int that cannot be shown")


@pytest.mark.parametrize("name", ["celerant", "celerant.worker"])
def test_no_argument_of_a_log_begins_a_line_of_its_own(name, caplog):
    forged = "id\nERROR root: the database is gone\x1b[2J"
    with caplog.at_level(logging.INFO, name):
        logger = logging.getLogger(name)
        logger.info("%s %r %s", forged, forged, Hostile())
        logger.info("%s %d %.2f", "x" * 100_000, 5, 1.5)
        logger.info("%(a)s", {"a": forged})
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 1100
    assert "ERROR root" in caplog.records[0].getMessage()
    assert caplog.records[1].getMessage().endswith("... 5 1.50")


def test_a_traceback_keeps_its_lines_and_indents_them_all(caplog):
    text = "Traceback:\n\tFile x\nValueError: a\nERROR root: forged\x1b[2J\n"
    logging.getLogger("celerant").warning("task failed%s", Lines(text))
    told = caplog.records[0].getMessage().splitlines()
    assert told[0] == "task failed"
    assert told[1:] == [
        "  Traceback:",
        "      File x",
        "  ValueError: a",
        r"  ERROR root: forged\x1b[2J",
    ]


def test_a_traceback_of_many_lines_is_cut_in_the_middle():
    told = str(Lines("\n".join(f"line {n}" for n in range(100_000)))).splitlines()
    assert len(told) < 210
    assert told[1] == "  line 0"
    assert told[-1] == "  line 99999"
