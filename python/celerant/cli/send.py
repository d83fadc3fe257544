"""``celerant send``: send a canvas of a module, or show what would leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click
import orjson

from celerant.cli.exits import FAILED, UNREACHABLE
from celerant.cli.finding import load_canvas, look_here
from celerant.cli.options import json_option, print_json
from celerant.cli.rehearsal import Rehearsal, rehearse
from celerant.common.extras import extra
from celerant.common.printable import shown
from celerant.errors import CelerantError, PublishError

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.canvas.base import Canvas

__all__ = ["send"]

_FIRST_MOST = 4_000


@click.command()
@click.argument("canvas", metavar="MODULE:CANVAS")
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would leave.")
@json_option
def send(canvas: str, dry_run: bool, as_json: bool) -> int:  # noqa: FBT001 - called by click
    """Send a canvas, or show what would leave.

    MODULE:CANVAS is a signature, group, chain or chord, or a function that returns
    one. Prints the handle of a group's result, of any other the task's id. Exit code:
    0 if all left, 1 if the broker refused, 3 if it does not answer.
    """
    look_here()
    try:
        found = load_canvas(canvas)
    except CelerantError as exc:
        raise click.UsageError(str(exc)) from exc
    if dry_run:
        made = rehearse(found)
        if as_json:
            print_json(made.told())
        else:
            _print(made)
        return 0
    return _send(found, as_json=as_json)


def _send(canvas: Canvas[Any], *, as_json: bool) -> int:
    code, error = 0, None
    try:
        result: Any = canvas.apply_async()
    except PublishError as exc:
        if exc.result is None:
            raise
        code, error = (UNREACHABLE if exc.recoverable else FAILED), exc
        result = exc.result
    name = _name(result)
    report = getattr(result, "report", None)
    if as_json:
        told = {"id": result.id, "handle": name if name != result.id else None}
        told["report"] = None if report is None else report.counts()
        told["error"] = None if error is None else str(error)
        print_json(told)
    else:
        click.echo(name)
        if report is not None:
            click.echo(str(report), err=True)
        if error is not None:
            click.echo(f"Error: {error}", err=True)
    cast("Celerant", canvas.app).close()
    return code


def _name(result: Any) -> str:
    try:
        return str(result.handle)
    except (AttributeError, CelerantError):
        # It is a task's result, or the store is in this process.
        return str(result.id)


def _print(made: Rehearsal) -> None:
    table = extra("rich.table", of="cli", needed_by="`celerant send`").Table(
        title="would leave", title_justify="left"
    )
    for name in ("queue", "task"):
        table.add_column(name, overflow="fold")
    for name in ("messages", "bytes", "largest"):
        table.add_column(name, justify="right")
    for count in made.counts.values():
        numbers = (count.messages, count.total_bytes, count.largest_bytes)
        table.add_row(count.queue, count.task, *(f"{n:,}" for n in numbers))
    extra("rich", of="cli", needed_by="`celerant send`").print(table)
    if made.first is None:
        return
    click.echo("first message:")
    text = orjson.dumps(made.first, default=shown, option=orjson.OPT_INDENT_2).decode()
    click.echo(text if len(text) <= _FIRST_MOST else f"{text[:_FIRST_MOST]} ...")
