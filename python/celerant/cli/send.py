"""``celerant send``: send a canvas of a module, or show what would leave."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

import click

from celerant.canvas.group import group
from celerant.cli.exits import FAILED, UNREACHABLE
from celerant.cli.options import (
    OutputFile,
    given_canvas,
    json_option,
    json_text,
    print_json,
)
from celerant.cli.rehearsal import Rehearsal, rehearse
from celerant.cli.results import looks
from celerant.common.extras import extra
from celerant.errors import CelerantError, PublishError

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.canvas.base import Canvas
    from celerant.results.group_result import GroupResult

__all__ = ["send"]

_FIRST_MOST = 4_000


def _amount(text: str) -> int | float:
    """Return a number of members, or a share of them."""
    return int(text) if text.isdigit() else float(text)


@click.command()
@click.argument("canvas", metavar="MODULE:CANVAS")
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would leave.")
@click.option(
    "--cancellable",
    is_flag=True,
    default=None,
    help="Let `cancel` stop the whole group, and `retry` send members once more.",
)
@click.option(
    "--window",
    type=click.IntRange(1),
    metavar="MEMBERS",
    help="The most unfinished members in the broker; stays until the last has left.",
)
@click.option(
    "--canary",
    type=_amount,
    metavar="MEMBERS|SHARE",
    help="So many go first, and the others if these do well: 100, or 0.01.",
)
@click.option(
    "--stop-if",
    type=_amount,
    metavar="FAILURES|SHARE",
    help="Stop if more than that fail: 20, or 0.05.",
)
@click.option(
    "--journal",
    type=OutputFile(),
    metavar="FILE",
    help="Note what leaves, so that `group(source).resume(FILE)` goes on after a kill.",
)
@json_option
def send(
    canvas: str,
    dry_run: bool,  # noqa: FBT001 - called by click
    as_json: bool,  # noqa: FBT001 - the same
    **options: Any,
) -> int:
    """Send a canvas, or show what would leave.

    MODULE:CANVAS is a signature, group, chain or chord, or a function that returns
    one. Prints the handle of a group's result, of any other the task's id. Exit code:
    0 if all left, 1 if the broker refused or the group was stopped, 3 if the broker
    does not answer.
    """
    given = {name: value for name, value in options.items() if value is not None}
    found = given_canvas(canvas)
    if given and not isinstance(found, group):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        msg = f"{canvas} is no group, and {named} are for groups"
        raise click.UsageError(msg)
    if dry_run:
        made = rehearse(found)
        if as_json:
            print_json(made.told())
        else:
            _print(made)
        return 0
    return _send(found, given, as_json=as_json)


def _send(canvas: Canvas[Any], options: dict[str, Any], *, as_json: bool) -> int:
    error: BaseException | None = None
    try:
        result: Any = canvas.apply_async(**options)
    except PublishError as exc:
        if exc.result is None:
            raise
        error, result = exc, exc.result
    name = _name(result)
    is_fed = getattr(result, "feeding", None) is not None
    if is_fed:
        # Whoever wants to watch it need not wait for its end.
        click.echo(name, err=as_json)
        error = _fed(result)
    report = getattr(result, "report", None)
    if as_json:
        told = {"id": result.id, "handle": name if name != result.id else None}
        told["report"] = None if report is None else report.counts()
        told["error"] = None if error is None else str(error)
        print_json(told)
    else:
        if not is_fed and _has_left(error):
            click.echo(name)
        if report is not None:
            click.echo(str(report), err=True)
        if error is not None:
            click.echo(f"Error: {error}", err=True)
    cast("Celerant", canvas.app).close()
    return _code(error)


def _fed(result: GroupResult[Any]) -> BaseException | None:
    """Wait until all members have left; return what stopped it before, if so."""
    over = threading.Event()
    result.on("sealed", lambda _: over.set())
    # In steps, because on some systems Ctrl-C does not end a long wait.
    for _ in looks(over, None):
        pass
    if result.source_error is not None or result.stopped_by is None:
        return result.source_error
    msg = f"the group was stopped by {result.stopped_by}: not all of it was sent"
    return CelerantError(msg)


def _has_left(error: BaseException | None) -> bool:
    """Whether any message may have left."""
    if not isinstance(error, PublishError) or error.report is None:
        return True
    counts = error.report.counts()
    return bool(counts["confirmed"] or counts["unknown"])


def _code(error: BaseException | None) -> int:
    if error is None:
        return 0
    is_away = isinstance(error, PublishError) and error.recoverable
    return UNREACHABLE if is_away else FAILED


def _name(result: Any) -> str:
    try:
        return str(result.handle)
    except (AttributeError, CelerantError):
        # It is a task's result, or the store is in this process.
        return str(result.id)


def _print(made: Rehearsal) -> None:
    # Else rich would read names as its markup.
    plain = extra("rich.text", of="cli", needed_by="`celerant send`").Text
    table = extra("rich.table", of="cli", needed_by="`celerant send`").Table(
        title="would leave", title_justify="left"
    )
    for name in ("queue", "task"):
        table.add_column(name, overflow="fold")
    for name in ("messages", "bytes", "largest"):
        table.add_column(name, justify="right")
    for count in made.counts.values():
        numbers = (count.messages, count.total_bytes, count.largest_bytes)
        names = (plain(count.queue), plain(count.task))
        table.add_row(*names, *(f"{n:,}" for n in numbers))
    extra("rich", of="cli", needed_by="`celerant send`").print(table)
    if made.first is None:
        return
    click.echo("first message:")
    text = json_text(made.first)
    click.echo(text if len(text) <= _FIRST_MOST else f"{text[:_FIRST_MOST]} ...")
