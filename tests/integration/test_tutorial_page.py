"""The part of docs/tutorial.md with a broker: its commands do what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from harness import services

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
DATABASE = 11


@pytest.fixture
def shop(tmp_path):
    """The page's shop.py, with a broker of its own: yields what runs a command."""
    services.require_redis()
    wanted = r"^`shop.py`:\n\n```text\n(.*?)^```"
    (source,) = re.findall(wanted, PAGE, re.DOTALL | re.MULTILINE)
    given, queue = '"redis://127.0.0.1:6379/0"', f"shop-{uuid.uuid4().hex[:8]}"
    assert given in source
    source = source.replace(given, repr(services.redis_url(DATABASE)))
    source += f"app.conf.task_default_queue = {queue!r}\n"
    (tmp_path / "shop.py").write_text(source)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
        )

    command = [sys.executable, "-m", "celerant", "worker", "-A", "shop:app"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        try:
            yield run
        finally:
            worker.terminate()
            worker.wait(20)
            with services.redis_client(DATABASE) as client:
                client.flushdb()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.redis
@pytest.mark.timeout(90)
def test_the_tutorials_group_over_redis_ends_well(shop):
    sent = shop("-m", "celerant", "send", "shop:canvas")
    assert sent.returncode == 0, sent.stderr
    handle = sent.stdout.split()[0]
    assert handle.startswith("cel2.")
    watched = shop("-m", "celerant", "watch", handle, "-A", "shop:app")
    assert (watched.returncode, watched.stdout) == (0, ""), watched.stderr
    (code, values) = re.findall(r"^\$ python -c '(.+)'\n(.+)$", PAGE, re.MULTILINE)[0]
    shown = shop("-c", code.replace("cel2.AEb0...", handle))
    assert shown.stdout == f"{values}\n", shown.stderr
