from __future__ import annotations

import json
import sys

import pytest

from celerant import cli
from harness.capture import drain

#: Nothing listens there.
CLOSED = "redis://127.0.0.1:1/0"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of canvases; returns its name. Its app's broker is as given."""
    names = []

    def write(broker="memory://"):
        names.append(f"h3canvas{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(
            "from celerant import Celerant, chord, group\n"
            f"app = Celerant({names[-1]!r}, broker={broker!r},\n"
            "    task_publish_retry=False)\n"
            "@app.task\n"
            "def add(x, y): return x + y\n"
            "@app.task(queue='far')\n"
            "def total(xs): return sum(xs)\n"
            "canvas = group(add.s(i, i) for i in range(1000))\n"
            "mixed = group([add.s(1, 1), total.s([1]), total.s([1, 2])])\n"
            "def made(): return chord([add.s(1, 1)], total.s())\n"
            "one = add.s(1, 2)\n"
            "bad = add.s(1)\n"
            "big = add.s(2**70, '\\udc80')\n"
            "heavy = add.s(1, 1).set(headers={'n': 2**70})\n"
        )
        return names[-1]

    monkeypatch.syspath_prepend(str(tmp_path))
    yield write
    for name in names:
        module = sys.modules.pop(name, None)
        if module is not None:
            module.app.close()
        drain("memory://", name)


def told(arguments, capsys):
    code = cli.main(arguments)
    return code, json.loads(capsys.readouterr().out)


def test_a_dry_run_counts_by_queue_and_task_and_reaches_no_broker(module, capsys):
    name = module(CLOSED)
    code, found = told(["send", f"{name}:mixed", "--dry-run", "--json"], capsys)
    assert code == 0
    counts = {(c["queue"], c["task"]): c["messages"] for c in found["counts"]}
    assert counts == {("celery", f"{name}.add"): 1, ("far", f"{name}.total"): 2}
    assert found["messages"] == 3
    assert found["first"]["body"][0] == [1, 1]
    assert found["first"]["headers"]["task"] == f"{name}.add"
    by_queue = {c["queue"]: c for c in found["counts"]}
    # [1] and [1, 2] differ by three bytes in the body and by three in `argsrepr`.
    far = by_queue["far"]
    assert far["total_bytes"] == 2 * far["largest_bytes"] - 6


def test_a_dry_run_of_a_chord_stores_nothing(module, capsys):
    # A store that is away would be told of the chord's size.
    code, found = told(
        ["send", f"{module(CLOSED)}:made", "--dry-run", "--json"], capsys
    )
    assert (code, found["messages"]) == (0, 1)
    assert found["first"]["body"][2]["chord"]["task"].endswith(".total")


def test_a_dry_run_runs_nothing_of_an_eager_app(module, capsys):
    name = module()
    __import__(name).app.conf.task_always_eager = True
    code, found = told(["send", f"{name}:canvas", "--dry-run", "--json"], capsys)
    assert (code, found["messages"]) == (0, 1000)


def test_a_dry_run_shows_a_table_and_one_message(module, capsys):
    assert cli.main(["send", module(), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "1,000" in shown
    assert '"argsrepr": "(0, 0)"' in shown


def test_a_dry_run_shows_numbers_and_text_as_they_are(module, capsys):
    name = module()
    code, found = told(["send", f"{name}:big", "--dry-run", "--json"], capsys)
    assert (code, found["first"]["body"][0]) == (0, [2**70, "\udc80"])
    assert cli.main(["send", f"{name}:big", "--dry-run"]) == 0
    assert f"{2**70}" in capsys.readouterr().out
    code, found = told(["send", f"{name}:heavy", "--dry-run", "--json"], capsys)
    assert (code, found["first"]["headers"]["n"]) == (0, 2**70)


def test_a_bad_member_is_told_by_a_dry_run(module, capsys):
    assert cli.main(["send", f"{module()}:bad", "--dry-run"]) == 1
    assert "missing a required argument" in capsys.readouterr().err


def test_a_canvas_is_sent(module, capsys):
    name = module()
    code, found = told(["send", f"{name}:canvas", "--json"], capsys)
    assert code == 0
    assert found["report"]["confirmed"] == 1000
    assert len(drain("memory://", name)) == 1000


@pytest.mark.parametrize("canvas", ["canvas", "one"])
def test_a_broker_that_is_away_exits_with_three(module, canvas, capsys):
    assert cli.main(["send", f"{module(CLOSED)}:{canvas}"]) == 3
    out, err = capsys.readouterr()
    assert "127.0.0.1:1" in err
    # Nobody waits for what has not left.
    assert out == ""
