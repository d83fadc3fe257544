"""Text of others that rich would take for its markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from celerant import group
from celerant.cli.bench import _draw
from celerant.cli.rehearsal import Count, Rehearsal
from celerant.cli.send import _print
from celerant.ui.drawing import drawing_on

#: A closing tag without its opening one, a style, and an emoji.
HOSTILE = ["[/nightly]", "[nightly] 7", "a:heart:b"]


@pytest.mark.parametrize("group_id", HOSTILE)
def test_watch_shows_any_id_of_a_group_as_it_is(module, run, group_id):
    with module.app.worker(concurrency=1):
        result = group([module.add.s(1, 1)]).apply_async(task_id=group_id)
        result.get(timeout=20)
    code, _, err = run("watch", result.handle)
    assert code == 0
    assert f"group {group_id}: 1 of 1 done" in err


@pytest.mark.parametrize("group_id", ["[/aa]bb", "[aa] b", "a:cat:b"])
def test_a_bar_in_a_terminal_shows_any_id_of_a_group_as_it_is(group_id):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    drawing = drawing_on(console, group_id)
    drawing.show({"total": 2, "done": 1, "failed": 1}, "")
    drawing.stop()
    assert f"group {group_id}" in console.file.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_dry_run_shows_any_name_of_a_queue_and_task_as_it_is(name, capsys):
    count = Count(f"q{name}", f"t{name}", 1, 2, 3)
    _print(Rehearsal({(count.queue, count.task): count}))
    out = capsys.readouterr().out
    assert count.queue in out
    assert count.task in out


def test_a_bench_shows_any_address_as_it_is(capsys):
    told = {"broker": "redis://[fe80::1]:6379/0", "round_trip_ms": 1}
    _draw({**told, "per_second": {"Celerant": 1}}, None, is_printed=True)
    assert told["broker"] in capsys.readouterr().out
