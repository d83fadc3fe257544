"""Index every Python file under a folder: one task per file, one group for all.

    python examples/index_code.py                        # worker in this process
    python examples/index_code.py --broker redis://127.0.0.1:6379/0

With a broker given, the work is done by `celery worker` processes; start them first:

    export CELERANT_BROKER=redis://127.0.0.1:6379/0 PYTHONPATH=examples
    celery -A index_code:celery_app worker

It gives up where nothing gets done for `--patience` seconds.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import sysconfig
import time
import token
import tokenize
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from celerant import Celerant, GroupResult, group

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

LONGEST = 10
POLL_S = 0.1
NO_WORKER = """\
is a worker running? Start one, with the same broker:
  CELERANT_BROKER=... PYTHONPATH=examples celery -A index_code:celery_app worker"""

app = Celerant(
    "index_code",
    broker=os.environ.get("CELERANT_BROKER"),
    backend=os.environ.get("CELERANT_BACKEND"),
    task_default_queue="index_code",
)


class FileIndex(TypedDict):
    """What the task says of one file; plain data, so that it travels as JSON."""

    path: str
    lines: int
    code_lines: int
    tokens: int
    comments: int
    functions: int
    classes: int
    imports: int
    names: list[tuple[str, int]]
    longest: list[tuple[int, int]]
    error: str | None


@app.task(name="index_code.index_file")
def index_file(path: str) -> FileIndex:
    """Tokenize one file and count its tokens."""
    data = Path(path).read_bytes()
    kinds: Counter[str] = Counter()
    names: Counter[str] = Counter()
    code_lines: set[int] = set()
    error = None
    text = ""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        for piece in tokenize.generate_tokens(io.StringIO(text).readline):
            kinds["tokens"] += 1
            if piece.type == token.COMMENT:
                kinds["comments"] += 1
            elif piece.type == token.NAME:
                names[piece.string] += 1
                code_lines.add(piece.start[0])
            elif piece.type in (token.OP, token.NUMBER, token.STRING):
                code_lines.update(range(piece.start[0], piece.end[0] + 1))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError) as broken:
        # The standard library keeps broken files for its own tests.
        error = f"{type(broken).__name__}: {broken}"
    lines = text.splitlines()
    lengths = sorted(((len(line), n) for n, line in enumerate(lines, 1)), reverse=True)
    return {
        "path": path,
        "lines": len(lines),
        "code_lines": len(code_lines),
        "tokens": kinds["tokens"],
        "comments": kinds["comments"],
        "functions": names["def"],
        "classes": names["class"],
        "imports": names["import"],
        "names": names.most_common(LONGEST),
        "longest": lengths[:LONGEST],
        "error": error,
    }


def __getattr__(name: str) -> Any:
    # Built only when `celery -A index_code:celery_app` asks for it.
    if name == "celery_app":
        return app.to_celery()
    raise AttributeError(name)


def python_files(folder: Path) -> list[str]:
    """Return the `.py` files under `folder`, in a stable order."""
    return sorted(
        str(path)
        for path in folder.rglob("*.py")
        if path.is_file() and "site-packages" not in path.parts
    )


def watch(result: GroupResult[FileIndex], total: int, patience: float) -> bool:
    """Show how many files are done until all are.

    Returns:
        Whether all are; not so once nothing more got done for `patience` seconds.
    """
    from rich.progress import (  # noqa: PLC0415 - workers of the tasks need no rich
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("index", total=total)
        done, moved = 0, time.monotonic()
        while not result.ready():
            before, done = done, result.completed_count()
            progress.update(bar, completed=done)
            now = time.monotonic()
            if done > before:
                moved = now
            elif now - moved >= patience:
                return False
            time.sleep(POLL_S)
        progress.update(bar, completed=result.completed_count())
    return True


def show(indexes: Sequence[FileIndex], seconds: float) -> None:
    """Print totals, the longest lines and the rate."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above

    console = Console()
    totals = Table(title="totals", show_header=False)
    totals.add_column("what")
    totals.add_column("count", justify="right")
    totals.add_row("files", f"{len(indexes):,}")
    for what in (
        "lines",
        "code_lines",
        "tokens",
        "comments",
        "functions",
        "classes",
        "imports",
    ):
        total = sum(int(index[what]) for index in indexes)
        totals.add_row(what.replace("_", " "), f"{total:,}")
    broken = sum(1 for index in indexes if index["error"])
    totals.add_row("not tokenizable", f"{broken:,}")
    console.print(totals)

    longest = sorted(
        (
            (length, index["path"], line)
            for index in indexes
            for length, line in index["longest"]
        ),
        reverse=True,
    )
    table = Table(title=f"the {LONGEST} longest lines")
    table.add_column("characters", justify="right")
    table.add_column("where", overflow="fold")
    for length, path, line in longest[:LONGEST]:
        table.add_row(f"{length:,}", f"{path}:{line}")
    console.print(table)
    rate = len(indexes) / seconds
    console.print(f"{len(indexes):,} files in {seconds:.2f} s: {rate:,.0f} files/s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; return 0 if every file has its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=sysconfig.get_path("stdlib"))
    parser.add_argument("--broker", help="URL; default: the worker in this process")
    parser.add_argument("--backend", help="URL of the results; default: the broker's")
    parser.add_argument("--concurrency", type=int, default=os.cpu_count())
    parser.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long nothing may get done before giving up (default: 30)",
    )
    options = parser.parse_args(arguments)

    files = python_files(Path(options.folder))
    if not files:
        print(f"no .py file under {options.folder}", file=sys.stderr)
        return 2
    if options.broker:
        app.conf.update(
            broker_url=options.broker, result_backend=options.backend or options.broker
        )
    print(f"{len(files):,} files under {options.folder}")
    embedded = not (options.broker or os.environ.get("CELERANT_BROKER"))
    worker: AbstractContextManager[Any] = (
        app.worker(concurrency=options.concurrency, pool="processes")
        if embedded
        else nullcontext()
    )
    with app, worker:
        start = time.perf_counter()
        result = group.map(index_file, files).apply_async()
        if not watch(result, len(files), options.patience):
            print(
                f"gave up: {result.completed_count():,} of {len(files):,} files are "
                f"done and nothing got done for {options.patience:g} s"
                + ("" if embedded else f"; {NO_WORKER}"),
                file=sys.stderr,
            )
            return 1
        outcomes = result.get(timeout=60, propagate=False)
        seconds = time.perf_counter() - start

    missing = [
        path
        for path, outcome in zip(files, outcomes, strict=True)
        if not isinstance(outcome, dict) or outcome["path"] != path
    ]
    show([outcome for outcome in outcomes if isinstance(outcome, dict)], seconds)
    for path in missing:
        print(f"no result: {path}", file=sys.stderr)
    if embedded:
        print(
            "\nThe same on Redis, with Celery's own worker (in two terminals):\n"
            "  CELERANT_BROKER=redis://127.0.0.1:6379/0 PYTHONPATH=examples \\\n"
            "    .venv/bin/celery -A index_code:celery_app worker\n"
            "  .venv/bin/python examples/index_code.py "
            "--broker redis://127.0.0.1:6379/0"
        )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
