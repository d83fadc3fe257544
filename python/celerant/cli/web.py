"""``celerant web``: the page of an app's groups."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from celerant.cli.options import app_option, given_app
from celerant.common.extras import extra
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["web"]

_LOOPBACK = ["127.0.0.1", "localhost"]
#: Seconds for answers at the end. The streams of open pages go on until their groups
#: end, and would be waited for.
_LAST_SECONDS = 1


@click.command()
@app_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=8800, show_default=True)
@click.option(
    "--secret",
    envvar="CELERANT_WEB_SECRET",
    help="Signs tokens of <celerant-progress>; also CELERANT_WEB_SECRET.",
)
@click.option(
    "--list",
    "lists",
    is_flag=True,
    help="List the groups that celerant_index_groups notes, for whoever reaches it.",
)
def web(
    app_path: str | None,
    host: str,
    port: int,
    secret: str | None,
    lists: bool,  # noqa: FBT001 - called by click
) -> None:
    """Serve the page of an app's groups.

    A user who can reach it and has a group's handle sees the group, and no user can
    change it. For more, mount `celerant.web.make_site` in your own application.
    """
    server = extra("uvicorn", of="web", needed_by="`celerant web`")
    from celerant.web import make_site  # noqa: PLC0415 - an extra

    with given_app(app_path) as app:
        site: Any = make_site(app, secret=secret, may_list=lambda _request: lists)
        if host in _LOOPBACK:
            # Another site whose name leads here, too, must not read it.
            needed = "`celerant web`"
            hosts = extra(
                "starlette.middleware.trustedhost", of="web", needed_by=needed
            )
            site = hosts.TrustedHostMiddleware(site, allowed_hosts=_LOOPBACK)
        _warn_of_store(app)
        try:
            server.run(
                _Ending(site),
                host=host,
                port=port,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        except SystemExit as exc:
            # uvicorn has logged why. Its own code means something else here.
            msg = (
                f"cannot serve on {host}, port {port}; choose another --port or --host"
            )
            raise click.UsageError(msg) from exc


def _warn_of_store(app: Celerant) -> None:
    """Say if the page can show no group, because no other process sees results."""
    try:
        app.backend.refuse_handles()
    except CelerantError as exc:
        click.echo(f"Warning: the page can show no group: {exc}", err=True)


class _Ending:
    """Has the server end quietly although it cancels the streams of open pages.

    Args:
        site: An ASGI app.
    """

    def __init__(self, site: Any) -> None:
        self._site = site

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._site(scope, receive, send)
        except asyncio.CancelledError:
            # Nobody waits for this task, and the server would log it as a failed one. A
            # stream is whole wherever it ends; what has not begun cannot be ended.
            with suppress(RuntimeError):
                await send({"type": "http.response.body"})
