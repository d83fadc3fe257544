"""``celerant doctor``: check an app, its broker, its result store and its workers."""

from __future__ import annotations

from dataclasses import asdict

import click

from celerant.cli.exits import FAILED
from celerant.cli.options import app_option, given_app, json_option, print_json
from celerant.doctor import Finding, examine

__all__ = ["doctor"]

_MARKS = {"ok": "ok", "note": "note", "warning": "warning", "problem": "PROBLEM"}
_COLOURS = {"ok": "green", "note": "blue", "warning": "yellow", "problem": "red"}
#: What stops tasks comes first.
_RANKS = {level: rank for rank, level in enumerate(reversed(_MARKS))}
_WIDTH = max(map(len, _MARKS.values()))


@click.command()
@app_option
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds to wait for one more worker.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show also what is well.")
@json_option
def doctor(
    app_path: str | None,
    timeout: float,
    verbose: bool,  # noqa: FBT001 - called by click
    as_json: bool,  # noqa: FBT001 - the same
) -> int:
    """Look at an app, its broker, its result store and its workers.

    Each finding says what to do; problems come first. Exit code: 0, or 1 if there is a
    problem, also if the broker or the store does not answer.
    """
    with given_app(app_path) as app:
        found = list(examine(app, timeout=timeout))
    counts = {level: sum(f.level == level for f in found) for level in _MARKS}
    if as_json:
        print_json({"findings": [asdict(f) for f in found], "counts": counts})
    else:
        # The sort is stable: findings of one level keep the order of the checks.
        for finding in sorted(found, key=lambda one: _RANKS[one.level]):
            if verbose or finding.level != "ok":
                _print(finding)
        told = ", ".join(f"{count} {level}" for level, count in counts.items())
        click.echo(f"{len(found)} checks: {told}")
    return FAILED if counts["problem"] else 0


def _print(finding: Finding) -> None:
    mark = click.style(_MARKS[finding.level].ljust(_WIDTH), fg=_COLOURS[finding.level])
    click.echo(f"{mark}  {finding.about}: {finding.text}")
    if finding.remedy:
        click.echo(f"{' ' * _WIDTH}  -> {finding.remedy}")
