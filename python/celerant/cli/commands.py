"""The commands of the command line, and the exit codes of their errors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import click

from celerant.cli.bench import bench
from celerant.cli.doctor import doctor
from celerant.cli.exits import FAILED, INTERRUPTED, UNREACHABLE, USAGE, is_unreachable
from celerant.cli.logs import log_to_stderr
from celerant.cli.mending import cancel, failures, retry
from celerant.cli.options import app_option, given_app
from celerant.cli.results import report, result, watch
from celerant.cli.send import send
from celerant.cli.serving import serve
from celerant.cli.web import web
from celerant.errors import CanvasError, CelerantError, HandleError, SettingError

__all__ = ["run"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _version() -> str:
    try:
        return version("celerant")
    except PackageNotFoundError:
        return "(not installed)"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="celerant", message="%(prog)s %(version)s")
@app_option
def celerant(app_path: str | None) -> None:
    """Run the tasks of a Celerant app, and look after them."""


class _Names(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """Names, separated by commas."""

    name = "names"

    def convert(
        self,
        value: str,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> list[str]:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if not names:
            self.fail("it names no queue", param, ctx)
        return names


@celerant.command()
@app_option
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Tasks at a time.")
@click.option(
    "-P", "--pool", type=click.Choice(["threads", "processes"]), default="threads"
)
@click.option("-Q", "--queues", type=_Names(), metavar="A,B", help="Queues to consume.")
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(_LEVELS, case_sensitive=False),
    default="INFO",
)
@click.option("-E", "--task-events", is_flag=True, help="Send events for monitors.")
@click.option("-n", "--hostname", metavar="NAME", help="The worker's name.")
@click.option(
    "--without-mingle",
    is_flag=True,
    help="Do not ask the other workers at the start what was revoked.",
)
def worker(  # noqa: PLR0913, PLR0917 - the options
    app_path: str | None,
    concurrency: int | None,
    pool: str,
    queues: list[str] | None,
    loglevel: str,
    task_events: bool,  # noqa: FBT001 - called by click
    hostname: str | None,
    without_mingle: bool,  # noqa: FBT001 - called by click
) -> int:
    """Run tasks until told to stop."""
    begin_log = partial(log_to_stderr, loglevel.upper())
    begin_log()
    app = given_app(app_path)
    if task_events:
        app.conf.worker_send_task_events = True
    try:
        made = app.worker(
            concurrency=concurrency,
            pool="processes" if pool == "processes" else "threads",
            queues=queues,
            hostname=hostname,
        )
    except CelerantError as exc:
        raise click.UsageError(str(exc)) from exc
    made.child_setup.append(begin_log)
    made.mingles = None if without_mingle else "before"
    return serve(app, made)


for _command in (
    bench,
    cancel,
    doctor,
    failures,
    report,
    result,
    retry,
    send,
    watch,
    web,
):
    celerant.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: The words after the program's name; None takes the process's own.
    """
    try:
        code = celerant.main(arguments, prog_name="celerant", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as exc:
        is_away = is_unreachable(exc)
        if not is_away and not isinstance(exc, CelerantError):
            raise
        click.echo(f"Error: {exc}", err=True)
        if is_away:
            return UNREACHABLE
        is_usage = isinstance(exc, (CanvasError, HandleError, SettingError))
        return USAGE if is_usage else FAILED
    return code if isinstance(code, int) else 0
