"""Text from outside takes one line that is not too long."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import celerant
from celerant.common.printable import Lines, PlainRecords, line, shown


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
def test_values_of_any_kind_are_shown_in_one_short_line(told, text):
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


def test_the_text_of_a_logged_exception_begins_no_line(caplog):
    logger = logging.getLogger("celerant.worker")
    try:
        raise ValueError("a\nERROR root: forged\x1b[2J")  # noqa: TRY301
    except ValueError as exc:
        logger.exception("it failed")
        logger.log(logging.ERROR, "it failed", exc_info=exc)
    formatter = logging.Formatter("%(message)s")
    for record in caplog.records:
        first, *others = formatter.format(record).splitlines()
        assert first == "it failed"
        assert others[0] == "  Traceback (most recent call last):"
        assert all(other.startswith("  ") for other in others)
        assert others[-1] == r"  ERROR root: forged\x1b[2J"


def test_every_logger_of_the_package_keeps_its_records_plain():
    package = Path(celerant.__file__).parent
    named = re.compile(r'getLogger\("(celerant[\w.]*)"\)')
    names = {
        name
        for path in package.rglob("*.py")
        for name in named.findall(path.read_text(encoding="utf-8"))
    }
    assert {"celerant", "celerant.worker", "celerant.cli"} <= names
    for name in names:
        filters = logging.getLogger(name).filters
        assert any(isinstance(known, PlainRecords) for known in filters), name


def test_a_traceback_of_many_lines_is_cut_in_the_middle():
    told = str(Lines("\n".join(f"line {n}" for n in range(100_000)))).splitlines()
    assert len(told) < 210
    assert told[1] == "  line 0"
    assert told[-1] == "  line 99999"
