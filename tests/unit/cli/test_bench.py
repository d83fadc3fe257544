from __future__ import annotations

import json

from kombu.transport.memory import Channel

from celerant import cli


def test_bench_measures_both_and_leaves_no_queue(tmp_path, capsys):
    picture = tmp_path / "bench.svg"
    arguments = ["bench", "--broker", "memory://", "--members", "100", "--rounds", "1"]
    assert cli.main([*arguments, "--svg", str(picture), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["per_second"]) == {"Celerant", "Celery"}
    assert all(rate > 0 for rate in told["per_second"].values())
    assert told["times_celery"] > 0
    assert picture.read_text().startswith("<svg")
    assert [name for name in Channel.queues if name.startswith("celerant-bench")] == []


def test_bench_draws_a_table(capsys):
    arguments = ["bench", "--broker", "memory://", "--members", "100", "--rounds", "1"]
    assert cli.main(arguments) == 0
    assert "members per second" in capsys.readouterr().out
