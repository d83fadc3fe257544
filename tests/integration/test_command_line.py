"""The commands against a real Redis and a real RabbitMQ."""

from __future__ import annotations

import json
import sys
import threading
import uuid

import pytest
import redis

from celerant import Celerant, cli, group
from celerant.doctor import examine
from celerant.doctor.brokers import Reach
from celerant.doctor.brokers import check as check_brokers
from harness.until import until

TASKS = """
from celerant import Celerant
app = Celerant({name!r}, broker={broker!r}, task_default_queue={name!r})
app.conf.control_exchange = {name!r}

@app.task
def halve(x):
    return 1 / x
"""


@pytest.fixture
def module(server, tmp_path, monkeypatch):
    """A module with an app on a Redis of the tests' own."""
    name = f"h3line{uuid.uuid4().hex[:6]}"
    broker = f"redis://127.0.0.1:{server.port}/0"
    (tmp_path / f"{name}.py").write_text(TASKS.format(name=name, broker=broker))
    monkeypatch.syspath_prepend(str(tmp_path))
    made = __import__(name)
    yield made
    made.app.close()
    del sys.modules[name]


@pytest.fixture
def sent(module):
    """A group of four, of which the first member failed."""
    with module.app.worker(concurrency=1):
        result = group(module.halve.s(i) for i in range(4)).apply_async()
        result.get(timeout=20, propagate=False)
        yield result


def told(capsys, *arguments):
    code = cli.main(arguments)
    return code, capsys.readouterr().out


def test_a_report_counts_the_members_of_a_handle(sent, module, capsys):
    code, out = told(capsys, "report", sent.handle, "-A", module.__name__, "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["total"], found["done"], found["failed"]) == (4, 4, 1)
    assert found["counts"]["SUCCESS"] == 3
    code, out = told(capsys, "report", sent.handle, "-A", module.__name__)
    assert "FAILURE" in out
    assert sent.id in out


def test_a_report_takes_the_id_of_a_saved_group(sent, module, capsys):
    app = ("-A", module.__name__)
    assert told(capsys, "report", sent.id, *app)[0] == 2
    sent.save()
    code, out = told(capsys, "report", sent.id, *app, "--json")
    assert (code, json.loads(out)["failed"]) == (1, 1)


@pytest.mark.parametrize(
    ("index", "code", "shown"),
    [("1", 0, "SUCCESS"), ("-1", 0, "0.333"), ("0", 1, "ZeroDivisionError")],
)
def test_a_result_is_shown_by_its_index(sent, module, capsys, index, code, shown):
    found, out = told(
        capsys, "result", sent.handle, "--index", index, "-A", module.__name__
    )
    assert found == code
    assert shown in out


def test_a_result_of_no_member_is_a_wrong_command_line(sent, module, capsys):
    code, _ = told(capsys, "result", sent.handle, "--index", "9", "-A", module.__name__)
    assert code == 2


def test_a_result_is_shown_by_its_tasks_id(sent, module, capsys):
    app = ("-A", module.__name__, "--json")
    code, out = told(capsys, "result", sent[2].id, *app)
    assert (code, json.loads(out)["value"]) == (0, 0.5)
    assert told(capsys, "result", str(uuid.uuid4()), *app)[0] == 4


def test_watch_tells_each_change_until_the_end(module, capsys):
    with module.app.worker(concurrency=1):
        result = group(module.halve.s(i) for i in range(1, 4)).apply_async()
        code, out = told(
            capsys, "watch", result.handle, "-A", module.__name__, "--json"
        )
    states = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert states[-1]["done"] == 3
    assert [state["done"] for state in states] == sorted({s["done"] for s in states})


def test_watch_of_what_nobody_runs_ends_with_its_timeout(module, capsys):
    result = group(module.halve.s(i) for i in range(3)).apply_async()
    arguments = ("watch", result.handle, "-A", module.__name__, "--timeout", "0.2")
    assert cli.main(arguments) == 4
    assert "0 of 3 done" in capsys.readouterr().err


def test_a_handle_of_another_store_is_a_wrong_command_line(module, capsys):
    assert told(capsys, "report", "cel2.abc", "-A", module.__name__)[0] == 2


def test_cancel_revokes_what_has_not_begun(module, capsys):
    begun, gate = threading.Event(), threading.Event()

    @module.app.task
    def stay():
        begun.set()
        gate.wait(20)

    with module.app.worker(concurrency=1):
        result = group(stay.s() for _ in range(3)).apply_async()
        assert begun.wait(20)
        app = ("-A", module.__name__, "--json")
        code, out = told(capsys, "cancel", result.handle, *app)
        assert (code, json.loads(out)["cancelled"]) == (0, 3)
        # The worker has it when it answers the next command.
        ids = {member.id for member in result}
        until(lambda: ids <= set(_revoked(module.app)))
        gate.set()
        result.get(timeout=20, propagate=False)
    assert result.counts()["REVOKED"] == 2
    assert result.counts()["SUCCESS"] == 1


def test_failures_are_shown_by_exception_and_place(sent, module, capsys):
    code, out = told(capsys, "failures", sent.handle, "-A", module.__name__)
    assert code == 1
    assert "1 x ZeroDivisionError: division by zero" in out
    assert " in halve" in out
    code, out = told(capsys, "failures", sent.handle, "-A", module.__name__, "--json")
    shown = json.loads(out)
    assert (code, shown["failed"], shown["failures"][0]["indices"]) == (1, 1, [0])
    assert "members" not in shown


def test_failures_names_each_failed_member_if_asked(module, capsys):
    with module.app.worker(concurrency=1):
        result = group(module.halve.s(i % 10) for i in range(90)).apply_async()
        result.get(timeout=20, propagate=False)
    command = ("failures", result.handle, "-A", module.__name__, "--all")
    code, out = told(capsys, *command)
    named = [f"[{i}] {result[i].id}  ZeroDivisionError(" for i in range(0, 90, 10)]
    assert code == 1
    assert all(line in out for line in named)
    found = json.loads(told(capsys, *command, "--json")[1])
    assert [one["index"] for one in found["members"]] == [*range(0, 90, 10)]


def test_send_feeds_a_group_to_its_end(module, capsys):
    module.canvas = lambda: group(module.halve.s(i + 1) for i in range(50))
    send = ("send", f"{module.__name__}:canvas", "--window", "5")
    with module.app.worker(concurrency=2):
        assert cli.main(send) == 0
        shown = capsys.readouterr()
        handle = shown.out.strip()
        assert "50 members: 50 confirmed" in shown.err
        again = Celerant(module.__name__, broker=module.app.conf.broker_url)
        with again:
            values = again.attach(handle).get(timeout=20)
    assert values == [1 / (i + 1) for i in range(50)]


def test_send_tells_what_stopped_a_group(module, capsys):
    module.canvas = lambda: group([module.halve.s(0) for _ in range(50)])
    name = f"{module.__name__}:canvas"
    with module.app.worker(concurrency=2):
        code = cli.main(["send", name, "--canary", "0.1", "--stop-if", "2", "--json"])
    out, err = capsys.readouterr()
    assert code == 1
    found = json.loads(out)
    assert found["error"] == "the group was stopped by canary: not all of it was sent"
    # Its handle came before, for those that watch it meanwhile.
    assert err.startswith("cel2.")


def test_a_group_sent_cancellable_is_cancelled_and_sent_once_more(module, capsys):
    module.canvas = lambda: group(module.halve.s(i + 1) for i in range(4))
    name, app = f"{module.__name__}:canvas", ("-A", module.__name__)
    assert cli.main(["send", name, "--cancellable"]) == 0
    handle = capsys.readouterr().out.strip()
    assert cli.main(["cancel", handle, *app]) == 0
    capsys.readouterr()
    retry = ("retry", handle, "--missing", "--source", name, *app)
    with module.app.worker(concurrency=1):
        until(lambda: module.app.attach(handle).counts()["REVOKED"] == 4)
        code, out = told(capsys, *retry, "--json")
        assert (code, json.loads(out)["sent"]) == (0, 4)
        with Celerant(module.__name__, broker=module.app.conf.broker_url) as again:
            assert again.attach(handle).get(timeout=20) == [1, 1 / 2, 1 / 3, 1 / 4]


@pytest.mark.parametrize("option", [("--window", "5"), ("--cancellable",)])
def test_options_for_groups_are_refused_for_another_canvas(module, capsys, option):
    module.canvas = lambda: module.halve.s(1)
    assert cli.main(["send", f"{module.__name__}:canvas", *option]) == 2
    assert f"is no group, and {option[0]} are for groups" in capsys.readouterr().err


def test_retry_sends_those_that_failed_once_more(module, capsys):
    runs = []

    @module.app.task
    def once(x):
        runs.append(x)
        if runs.count(x) == 1 and x == 2:
            raise ValueError(x)
        return x

    module.members = lambda: group(once.s(i) for i in range(4))
    app = ("-A", module.__name__)
    source = ("--source", f"{module.__name__}:members")
    with module.app.worker(concurrency=1):
        result = module.members().apply_async(cancellable=True)
        result.get(timeout=20, propagate=False)
        assert told(capsys, "retry", result.handle, *app, *source)[0] == 2
        code, out = told(
            capsys, "retry", result.handle, "--failed", "--json", *app, *source
        )
        assert (code, json.loads(out)["id"]) == (0, result.id)
        again = module.app.attach(result.handle)
        assert again.get(timeout=20) == [0, 1, 2, 3]
    assert sorted(runs) == [0, 1, 2, 2, 3]


def _revoked(app):
    answers = app.control.inspect().revoked() or {}
    return [task_id for ids in answers.values() for task_id in ids]


# doctor


def problems(app):
    return [f for f in examine(app) if f.level == "problem"]


def test_doctor_finds_that_no_worker_runs(module, capsys):
    code, out = told(capsys, "doctor", "-A", module.__name__, "--json")
    found = [f for f in json.loads(out)["findings"] if f["level"] == "problem"]
    assert code == 1
    assert [f["about"] for f in found] == ["workers"]
    assert "no worker answers" in found[0]["text"]


def test_doctor_finds_no_problem_where_a_worker_serves_the_app(module, capsys):
    with module.app.worker(concurrency=1):
        code, out = told(capsys, "doctor", "-A", module.__name__, "-v")
    assert code == 0, out
    assert "all workers know all tasks" in out


def test_doctor_finds_a_wrong_queue_a_task_unknown_and_another_store(module, server):
    other = Celerant(
        "h3other",
        broker=f"redis://127.0.0.1:{server.port}/0",
        backend=f"redis://127.0.0.1:{server.port}/5",
        task_default_queue="elsewhere",
        control_exchange=module.app.conf.control_exchange,
        set_as_current=False,
    )
    with other, other.worker(concurrency=1):
        texts = " ".join(f.text for f in problems(module.app))
    assert f"no worker consumes queue {module.__name__}" in texts
    assert f"no worker knows {module.__name__}.halve" in texts
    assert "/5, and this app looks for them on" in texts


def test_doctor_finds_a_worker_that_stores_beside_its_broker_by_default(module, server):
    other = Celerant(
        "h3other",
        broker=module.app.conf.broker_url,
        backend=f"redis://127.0.0.1:{server.port}/5",
        task_default_queue=module.__name__,
        control_exchange=module.app.conf.control_exchange,
        set_as_current=False,
    )
    with other, module.app.worker(concurrency=1):
        (found,) = problems(other)
    assert "/0, and this app looks for them on" in found.text


def test_doctor_finds_a_redis_that_may_delete_queues(module, server):
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            found = problems(module.app)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert any("may delete queues" in f.text for f in found)


def test_doctor_names_the_rights_that_a_user_lacks(server):
    rights = "~* &* +@all -publish -psubscribe -@scripting -watch"
    with redis.Redis(port=server.port) as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", *rights.split())
    url = f"redis://weak:pw@127.0.0.1:{server.port}/0"
    with Celerant("h3weak", broker=url, set_as_current=False) as app:
        findings = list(examine(app, timeout=0.3))
    refused = {f.text.partition(" is refused")[0] for f in findings if f.level != "ok"}
    assert {
        "a mark (WATCH, MULTI, SET, EXEC)",
        "PUBLISH",
        "PSUBSCRIBE",
        "scripts (EVAL)",
    } <= refused
    assert "pw" not in " ".join(f.text for f in findings)


def test_doctor_leaves_no_key_behind(module, server):
    with redis.Redis(port=server.port) as client:
        before = set(client.keys("*doctor*"))
        list(examine(module.app, timeout=0.1))
        assert set(client.keys("*doctor*")) == before == set()


def test_doctor_finds_a_queue_with_other_arguments(rabbitmq_url, queue):
    with Celerant("h3first", broker=rabbitmq_url, set_as_current=False) as app:
        app.conf.task_default_queue = queue
        with app.connection_for_write() as connection:
            app.queues[queue].bind(connection.default_channel).declare()
        assert [f for f in check_brokers(app, Reach()) if f.level == "problem"] == []
        app.conf.task_queue_max_priority = 5
        found = [f for f in check_brokers(app, Reach()) if f.level == "problem"]
    assert [f.about for f in found] == ["queues"]
    assert "other arguments" in found[0].text


def test_a_wrong_password_of_rabbitmq_is_told(rabbitmq_url):
    url = rabbitmq_url.replace("guest:guest", "guest:wrong")
    with Celerant("h3wrong", broker=url, set_as_current=False) as app:
        (found,) = check_brokers(app, Reach())
    assert found.level == "problem"
    assert "password" in found.remedy
