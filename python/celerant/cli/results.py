"""``report``, ``result`` and ``watch``: show the results of a group or task."""

from __future__ import annotations

import contextlib
import threading
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from celerant.cli.exits import FAILED, PENDING
from celerant.cli.finding import attached
from celerant.cli.options import app_option, given_app, json_option, print_json
from celerant.common.extras import extra
from celerant.common.printable import shown
from celerant.errors import HandleError
from celerant.results.group_result import GroupResult
from celerant.results.handle_format import is_handle
from celerant.ui.bar import ProgressBar
from celerant.ui.telling import done_and_failed, told

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.results.async_result import AsyncResult

__all__ = ["HANDLE_HELP", "looks", "report", "result", "watch"]

#: States of members that are done and did not fail.
_WELL = frozenset({"IGNORED", "SUCCESS"})
#: The most characters of a value that are shown.
_VALUE_MOST = 10_000
#: Seconds between two reads of the counts, and until Ctrl-C is noticed.
_LOOK_INTERVAL = 0.1

HANDLE_HELP = "HANDLE is `result.handle`, or the id of a group that was saved."


@click.command(epilog=HANDLE_HELP)
@click.argument("handle")
@app_option
@json_option
def report(app_path: str | None, handle: str, as_json: bool) -> int:  # noqa: FBT001 - called by click
    """Count the members of a group by state.

    Exit code: 0 if all are done and none failed, 1 if any failed, was revoked, not sent
    or has expired, 4 if some are pending and none of these is.
    """
    with given_app(app_path) as app:
        found = attached(app, handle)
        counts = found.counts()
        if as_json:
            print_json(told(found))
        else:
            _print_counts(found, counts)
    return _code(counts)


@click.command(epilog=HANDLE_HELP)
@click.argument("handle")
@app_option
@click.option("--timeout", type=click.FloatRange(0), help="Seconds; by default no end.")
@json_option
def watch(
    app_path: str | None,
    handle: str,
    timeout: float | None,
    as_json: bool,  # noqa: FBT001 - called by click
) -> int:
    """Show a group's progress until all its members are done.

    In a terminal it is a bar, anywhere else one line at the end; with --json one line
    for each change. Exit code: as of `report`.
    """
    with given_app(app_path) as app:
        found = attached(app, handle)
        over = threading.Event()
        found.then(lambda _: over.set())
        if as_json:
            _print_changes(found, over, timeout)
        else:
            with ProgressBar(found):
                # In steps, because on some systems Ctrl-C does not end a long wait.
                for _ in looks(over, timeout):
                    pass
        return _code(found.counts())


def looks(over: threading.Event, timeout: float | None) -> Any:
    """Yield at intervals until `over` is set or the time has passed."""
    left = float("inf") if timeout is None else timeout
    while not over.wait(min(left, _LOOK_INTERVAL)) and left > 0:
        left -= _LOOK_INTERVAL
        yield


def _print_changes(
    found: GroupResult[Any], over: threading.Event, timeout: float | None
) -> None:
    last = _print_told(found, None)
    for _ in looks(over, timeout):
        last = _print_told(found, last)
    _print_told(found, last)


def _print_told(found: GroupResult[Any], last: dict[str, Any] | None) -> dict[str, Any]:
    """Print a group's counts if they have changed since `last`; return them."""
    now = told(found)
    if last is not None and all(now[key] == last[key] for key in ("counts", "total")):
        return last
    print_json(now, lines=True)
    return now


@click.command()
@click.argument("handle")
@app_option
@click.option("--index", type=int, help="The member's position; negative from the end.")
@click.option("--timeout", type=click.FloatRange(0), help="Wait so many seconds.")
@json_option
def result(
    app_path: str | None,
    handle: str,
    index: int | None,
    timeout: float | None,
    as_json: bool,  # noqa: FBT001 - called by click
) -> int:
    """Show one result: of a group's member, or of a task.

    HANDLE is a group's handle, then --index says which member; or the id of a task.
    Exit code: 0 if it succeeded or its result is ignored, 1 if it failed, 4 if it is
    pending. A member that ends in a group fails if one of its own members does.
    """
    with given_app(app_path) as app:
        one = _found(app, handle, index)
        if timeout is not None:
            with contextlib.suppress(TimeoutError):
                one.get(timeout=timeout, propagate=False)
        if isinstance(one, GroupResult):
            state, is_pending = _state_of_group(one), not one.ready()
            _print_group(one, state, as_json=as_json)
        else:
            state, is_pending = one.state, not one.ready()
            value = None if is_pending else one.get(timeout=0, propagate=False)
            _print_one(one, state, value, as_json=as_json)
    if is_pending:
        return PENDING
    return 0 if state in _WELL else FAILED


def _found(
    app: Celerant, handle: str, index: int | None
) -> AsyncResult[Any] | GroupResult[Any]:
    """Return the result of a task by its id, or of a member of a group."""
    if index is None and is_handle(handle):
        try:
            attached(app, handle)
        except HandleError as exc:
            raise click.UsageError(str(exc)) from exc
        msg = (
            "a group's handle needs --index, the position of a member; `celerant "
            "report HANDLE` counts all members, and in Python app.attach(handle).get() "
            "gives all values"
        )
        raise click.UsageError(msg)
    if index is None:
        task: AsyncResult[Any] = app.AsyncResult(handle)
        return task
    try:
        return attached(app, handle)[index]
    except IndexError as exc:
        raise click.UsageError(str(exc)) from exc


def _state_of_group(one: GroupResult[Any]) -> str:
    """Return the state of a member that is a group."""
    if not one.ready():
        return "PENDING"
    return "FAILURE" if _code(one.counts()) == FAILED else "SUCCESS"


def _print_group(one: GroupResult[Any], state: str, *, as_json: bool) -> None:
    """Print a member that is a group: its counts, and its failures or its values."""
    counts, found = one.counts(), one.failures()
    value = one.get(timeout=0, propagate=False) if state == "SUCCESS" else None
    if as_json:
        told: dict[str, Any] = {"id": one.id, "index": one.index, "state": state}
        told["counts"] = counts
        told["failures"] = [asdict(failure) for failure in found]
        print_json(told if value is None else {**told, "value": value})
        return
    click.echo(f"{one.id}  {state}")
    named = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    click.echo(f"{sum(counts.values()):,} members: {named}")
    if found:
        click.echo(str(found))
    elif value is not None:
        click.echo(shown(value, _VALUE_MOST))


def _print_one(one: AsyncResult[Any], state: str, value: Any, *, as_json: bool) -> None:
    is_error = isinstance(value, BaseException)
    if as_json:
        told: dict[str, Any] = {"id": one.id, "index": one.index, "state": state}
        if is_error:
            told["error"] = f"{type(value).__name__}: {value}"
            told["traceback"] = one.traceback
        else:
            told["value"] = value
        print_json(told)
        return
    click.echo(f"{one.id}  {state}")
    if is_error:
        text = one.traceback or "".join(
            traceback.format_exception_only(type(value), value)
        )
        # It may have lone surrogates, which UTF-8 does not know.
        click.echo(text.rstrip().encode(errors="backslashreplace").decode())
    elif state == "SUCCESS":
        click.echo(shown(value, _VALUE_MOST))


def _print_counts(found: GroupResult[Any], counts: dict[str, int]) -> None:
    table = extra("rich.table", of="cli", needed_by="`celerant report`").Table()
    table.add_column("state")
    table.add_column("members", justify="right")
    for state, count in counts.items():
        if count:
            table.add_row(state, f"{count:,}")
    table.add_row("all", f"{sum(counts.values()):,}")
    click.echo(f"group {found.id}")
    extra("rich", of="cli", needed_by="`celerant report`").print(table)


def _code(counts: dict[str, int]) -> int:
    _, _, failed = done_and_failed(counts)
    if failed:
        return FAILED
    return PENDING if counts["PENDING"] else 0
