"""Options that commands share, and what they print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from celerant.cli.finding import load_app, load_canvas, load_members, look_here
from celerant.common.printable import shown
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.canvas.base import Canvas

__all__ = [
    "OutputFile",
    "app_option",
    "given_app",
    "given_canvas",
    "given_members",
    "json_option",
    "json_text",
    "print_json",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


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
        return load_app(path, str(context.info_name))
    except CelerantError as exc:
        raise click.UsageError(str(exc)) from exc


def given_canvas(path: str) -> Canvas[Any]:
    """Return the canvas that the command line names as ``module:attribute``.

    Raises:
        click.UsageError: There is none.
    """
    return _given(load_canvas, path)


def given_members(path: str) -> Any:
    """Return the group's members that the command line names, as `load_members` does.

    Raises:
        click.UsageError: There are none.
    """
    return _given(load_members, path)


def _given(load: Callable[[str], T], path: str) -> T:
    look_here()
    try:
        return load(path)
    except CelerantError as exc:
        raise click.UsageError(str(exc)) from exc


class OutputFile(click.Path):
    """A path where a file can be written; its folder must be there before the work."""

    def __init__(self, **options: Any) -> None:
        super().__init__(dir_okay=False, writable=True, **options)

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Return the path; a path that cannot be written is a wrong command line."""
        path = super().convert(value, param, ctx)
        file = Path(os.fsdecode(path)).absolute()
        if not file.parent.is_dir():
            self.fail(f"there is no folder {shown(str(file.parent))}", param, ctx)
        if not (file.exists() or os.access(file.parent, os.W_OK)):
            msg = f"folder {shown(str(file.parent))} takes no new file"
            self.fail(msg, param, ctx)
        return path


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print a value as `json_text` gives it."""
    click.echo(json_text(value, lines=lines))


def json_text(value: Any, *, lines: bool = False) -> str:
    """Return a value as JSON; parts that JSON does not know are text.

    Args:
        value: The value.
        lines: Whether it is one line, for output of many values.
    """
    flags = orjson.OPT_NON_STR_KEYS | (0 if lines else orjson.OPT_INDENT_2)
    try:
        return orjson.dumps(value, default=shown, option=flags).decode()
    except TypeError:
        # orjson refuses integers beyond 64 bits and lone surrogates; json does not.
        plain = _plain(value)
    if lines:
        return json.dumps(plain, separators=(",", ":"))
    return json.dumps(plain, indent=2)


def _plain(value: Any) -> Any:
    """Return what json writes as orjson would write `value`."""
    if isinstance(value, dict):
        return {_key(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return [_plain(part) for part in value]
    if isinstance(value, (int, str)):
        return value
    try:
        return orjson.loads(
            orjson.dumps(value, default=shown, option=orjson.OPT_NON_STR_KEYS)
        )
    except TypeError:
        return shown(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    try:
        text = orjson.dumps({key: None}, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return shown(key)
    return str(next(iter(orjson.loads(text))))
