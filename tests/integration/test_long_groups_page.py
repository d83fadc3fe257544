"""The examples of docs/long-groups.md run as written, one after the other."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from harness import services

PAGE = Path(__file__).parents[2] / "docs" / "long-groups.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Of the page's own broker and store.
DATABASES = {0: 13, 1: 14}


@pytest.mark.redis
@pytest.mark.timeout(90)
def test_the_examples_of_a_long_group_run_as_written(tmp_path):
    services.require_redis()
    begin, *rest = BLOCK.findall(PAGE.read_text())
    for database, own in DATABASES.items():
        given = f'"redis://127.0.0.1:6379/{database}"'
        assert given in begin
        begin = begin.replace(given, repr(services.redis_url(own)))
    queue = f"long-{uuid.uuid4().hex[:8]}"
    lines = "".join(rest).splitlines()
    program = [begin, f"app.conf.task_default_queue = {queue!r}", "with app.worker():"]
    program += [f"    {line}" if line else "" for line in lines]
    script = tmp_path / "long.py"
    script.write_text("\n".join(program) + "\n")
    try:
        ran = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
    finally:
        for own in DATABASES.values():
            with services.redis_client(own) as client:
                client.flushdb()
    assert ran.stderr == ""
    assert ran.returncode == 0
