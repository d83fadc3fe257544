"""``failures``, ``retry``, ``cancel``: show a group's failures, and mend the group."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import click

from celerant.cli.exits import FAILED
from celerant.cli.finding import attached
from celerant.cli.options import (
    app_option,
    given_app,
    given_members,
    json_option,
    print_json,
)
from celerant.cli.results import HANDLE_HELP
from celerant.common.printable import shown
from celerant.results.group_result import GroupResult
from celerant.results.tracking.member_values import STATE_NAMES
from celerant.sending.mending import MENDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celerant.results.async_result import AsyncResult

__all__ = ["cancel", "failures", "retry"]

#: The most characters of an error in a line.
_ERROR_MOST = 200


@click.command(epilog=HANDLE_HELP)
@click.argument("handle")
@app_option
@click.option("--all", "name_all", is_flag=True, help="Also name each failed member.")
@json_option
def failures(
    app_path: str | None,
    handle: str,
    name_all: bool,  # noqa: FBT001 - called by click
    as_json: bool,  # noqa: FBT001 - the same
) -> int:
    """Show the failures of a group: by exception and place, the most frequent first.

    Exit code: 0 if no member failed so far, 1 if any did.
    """
    with given_app(app_path) as app:
        result = attached(app, handle)
        found = result.failures()
        failed = [*_failed(result)] if name_all else []
    if as_json:
        ways = [asdict(failure) for failure in found]
        told = {"id": found.group_id, "failed": found.total, "failures": ways}
        print_json({**told, "members": failed} if name_all else told)
    else:
        click.echo(str(found))
        _print_failed(failed)
    return FAILED if found.total else 0


def _failed(result: GroupResult[Any]) -> Iterator[dict[str, Any]]:
    """Yield position, id and error of each failed member.

    A member that is a group has its own failed members beside these.
    """
    one: AsyncResult[Any] | GroupResult[Any]
    for one in result:
        told: dict[str, Any] = {"index": one.index, "id": one.id}
        if isinstance(one, GroupResult):
            if one.ready() and one.members.has_failed():
                first = one.members.first_exception()
                told["error"] = shown(first, _ERROR_MOST)
                yield {**told, "members": [*_failed(one)]}
        elif one.failed():
            yield {**told, "error": shown(one.result, _ERROR_MOST)}


def _print_failed(failed: Sequence[dict[str, Any]], above: str = "") -> None:
    for one in failed:
        place = f"{above}[{one['index']}]"
        click.echo(f"{place} {one['id']}  {one['error']}")
        _print_failed(one.get("members", ()), place)


@click.command(epilog=HANDLE_HELP)
@click.argument("handle")
@app_option
@click.option("--failed", "which", flag_value="failed", help="Those that failed.")
@click.option(
    "--missing",
    "which",
    flag_value="missing",
    help="Those that were not sent or were cancelled, or whose results expired.",
)
@click.option(
    "--source",
    required=True,
    metavar="MODULE:GROUP",
    help="The group that was sent, all its signatures, or a function that returns it.",
)
@json_option
def retry(
    app_path: str | None,
    handle: str,
    which: Literal["failed", "missing"] | None,
    source: str,
    as_json: bool,  # noqa: FBT001 - called by click
) -> int:
    """Send members of a group once more, under their ids and into their places.

    The group must have been sent with window=, canary=, stop_if= or cancellable=True.
    Options that were set on the group count only if --source names a group. Does not
    wait for the members: `celerant watch` does.
    """
    if which is None:
        msg = "say which members: --failed or --missing"
        raise click.UsageError(msg)
    with given_app(app_path) as app:
        found = attached(app, handle)
        counts = found.counts()
        sent = sum(counts[STATE_NAMES[state]] for state in MENDED[which])
        found.retry(which, source=given_members(source))
        pending = found.counts()["PENDING"]
    if as_json:
        print_json({"id": found.id, "sent": sent, "pending": pending})
    else:
        click.echo(
            f"group {found.id}: {sent:,} members were sent once more, "
            f"{pending:,} of the group are pending now"
        )
    return 0


@click.command(epilog=HANDLE_HELP)
@click.argument("handle")
@app_option
@click.option("--terminate", is_flag=True, help="Also end tasks that run in processes.")
@json_option
def cancel(
    app_path: str | None,
    handle: str,
    terminate: bool,  # noqa: FBT001 - called by click
    as_json: bool,  # noqa: FBT001 - the same
) -> int:
    """Cancel the members of a group that have not begun.

    Each of the tasks ends as REVOKED when a worker takes its message. Prints how many
    are done, are known to run, and are cancelled.
    """
    with given_app(app_path) as app:
        found = attached(app, handle)
        said = found.cancel(terminate=terminate)
    if as_json:
        print_json({"id": found.id, **said._asdict()})
    else:
        click.echo(
            f"group {found.id}: {said.cancelled:,} members are cancelled, "
            f"{said.running:,} run, {said.done:,} are done"
        )
    return 0
