"""Small pieces of HTML for notebooks: no script, no style sheet, no asset.

Colours are the page's own or half-transparent, so that dark pages show them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["grid", "lines", "shares", "table"]

#: Colours of states by name; other states are grey.
_COLOURS = {
    "SUCCESS": "#2e9e5b",
    "IGNORED": "#2e9e5b",
    "confirmed": "#2e9e5b",
    "FAILURE": "#d64545",
    "NOT_SENT": "#d64545",
    "EXPIRED": "#d64545",
    "rejected": "#d64545",
    "REVOKED": "#c98a1b",
    "unknown": "#c98a1b",
}
_GREY = "rgba(128,128,128,.35)"
_CELL = 'style="text-align:left;padding:0 1em 0 0;border:none"'
#: Pages without a doctype give tables a colour of their own.
_TABLE = 'style="color:inherit;font:inherit"'
_BAR = "display:flex;height:.6em;width:24em;max-width:100%;margin:.3em 0"


def table(title: str, rows: Iterable[tuple[str, object]]) -> str:
    """Return a titled table of names and values."""
    cells = "".join(
        f"<tr><th {_CELL}>{escape(name)}</th><td {_CELL}>{escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return (
        f"<div><strong>{escape(title)}</strong>"
        f'<table role="presentation" {_TABLE}>{cells}</table></div>'
    )


def grid(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a titled table with a head for each column."""
    head = "".join(f'<th scope="col" {_CELL}>{escape(name)}</th>' for name in heads)
    body = "".join(
        "<tr>"
        + "".join(f"<td {_CELL}>{escape(str(value))}</td>" for value in row)
        + "</tr>"
        for row in rows
    )
    return (
        f"<div><strong>{escape(title)}</strong>"
        f"<table {_TABLE}><tr>{head}</tr>{body}</table></div>"
    )


def shares(title: str, counts: Mapping[str, int]) -> str:
    """Return a bar with the share of each state, and the counts in words."""
    total = sum(counts.values())
    present = {name: count for name, count in counts.items() if count}
    parts = "".join(
        f'<div style="width:{100 * count / total:.2f}%;'
        f'background:{_COLOURS.get(name, _GREY)}" title="{escape(name)}"></div>'
        for name, count in present.items()
    )
    told = ", ".join(f"{count:,} {name}" for name, count in present.items()) or "none"
    return (
        f'<div><strong>{escape(title)}</strong><div style="{_BAR}" aria-hidden="true">'
        f"{parts}</div><div>{escape(told)}</div></div>"
    )


def lines(title: str, text: str) -> str:
    """Return a titled block of text whose lines stay as they are."""
    style = "margin:.3em 0;background:none;color:inherit"
    return (
        f'<div><strong>{escape(title)}</strong><pre style="{style}">'
        f"{escape(text)}</pre></div>"
    )
