"""Options that commands share, and what they print."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from celerant.cli.finding import load_app, look_here
from celerant.common.printable import shown
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["app_option", "given_app", "json_option", "print_json"]

F = TypeVar("F", bound=Callable[..., Any])


def app_option(command: F) -> F:
    """Give a command the option ``-A``; `given_app` reads it."""
    option = click.option(
        "-A",
        "--app",
        "app_path",
        metavar="MODULE:APP",
        envvar="CELERANT_APP",
        help="Where the app is; also before the command, or CELERANT_APP.",
    )
    return option(command)


def json_option(command: F) -> F:
    """Give a command the option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def given_app(app_path: str | None) -> Celerant:
    """Return the app that the command line names.

    Args:
        app_path: The option after the command; None if it may be before it.

    Raises:
        click.UsageError: The command line names no app, or it cannot be loaded.
    """
    context = click.get_current_context()
    path = app_path or context.find_root().params.get("app_path")
    if path is None:
        # An empty name is reported as any other wrong one.
        path = app_path
    if path is None:
        msg = f"name the app: celerant {context.info_name} -A MODULE:APP"
        raise click.UsageError(msg)
    look_here()
    try:
        return load_app(path)
    except CelerantError as exc:
        raise click.UsageError(str(exc)) from exc


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print a value as JSON; parts that JSON does not know are printed as text.

    Args:
        value: The value.
        lines: Whether to print it on one line, for output of many values.
    """
    flags = orjson.OPT_NON_STR_KEYS | (0 if lines else orjson.OPT_INDENT_2)
    click.echo(orjson.dumps(value, default=shown, option=flags).decode())
