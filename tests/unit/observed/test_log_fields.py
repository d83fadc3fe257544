from __future__ import annotations

import logging

from celerant import group
from harness.until import until


def test_records_of_tasks_have_fields(app, caplog):
    @app.task(name="halve")
    def halve(x):
        return 1 / x

    caplog.set_level(logging.INFO, "celerant.worker")
    with app.worker(concurrency=1):
        result = group(halve.s(i) for i in range(2)).apply_async()
        result.get(timeout=10, propagate=False)
        records = until(
            lambda: (
                [r for r in caplog.records if hasattr(r, "task_id")][1:]
                and [r for r in caplog.records if hasattr(r, "task_id")]
            )
        )
    by_id = {record.task_id: record for record in records}
    assert set(by_id) == {member.id for member in result}
    for record in records:
        assert record.task_name == "halve"
        assert record.group_id == result.id
        assert record.root_id == record.task_id
    assert by_id[result[0].id].levelno == logging.ERROR
    assert by_id[result[1].id].levelno == logging.INFO
