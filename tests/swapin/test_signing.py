"""Signed messages: each member has a signature of its own, and workers accept it.

Signing is for a whole process, so the client is one of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import uuid

import pytest

from harness import services
from harness.celery_worker import CeleryWorker
from harness.certificates import self_signed
from swapin.conftest import BROKERS, RESULTS

pytest.importorskip("cryptography")
pytestmark = pytest.mark.timeout(90)
CLIENT = """
    import json
    import celerant.celery
    from celery import chord, group
    from celerant.celery import sending
    from harness.capture import drain
    from harness.signed_worker import app

    volleys = []
    volley = sending._Sending._volley

    def counted(self, run, **said):
        volleys.append(volley(self, run, **said) and len(run))
        return volleys[-1]

    sending._Sending._volley = counted
    celerant.celery.install()
    add, echo = app.tasks["celerant_test.add"], app.tasks["celerant_test.echo"]
    members = [add.s(i, i) for i in range(20)]
    values = group(members)().get(timeout=30)
    whole = chord(members, echo.s())().get(timeout=30)
    group(members).apply_async(queue="{aside}")
    types = [message.content_type for message in drain("{broker}", "{aside}")]
    print(json.dumps([values, whole, volleys, types]))
"""


def test_workers_accept_signed_messages(tmp_path):
    services.require_redis()
    if shutil.which("openssl") is None:
        services.absent("openssl on PATH")
    made = self_signed(tmp_path, is_rsa=True)
    queue = f"celerant-signed-{uuid.uuid4().hex[:8]}"
    settings = {
        "task_default_queue": queue,
        "security_key": str(made.key),
        "security_certificate": str(made.certificate),
        "security_cert_store": str(made.certificate),
        "accept_content": ["auth"],
        **dict.fromkeys(
            ["task_serializer", "result_serializer", "event_serializer"], "auth"
        ),
    }
    worker = CeleryWorker(
        broker=BROKERS["redis"],
        backend=RESULTS,
        queue=queue,
        module="harness.signed_worker:app",
        settings=settings,
    )
    aside = f"{queue}-aside"
    code = CLIENT.format(aside=aside, broker=BROKERS["redis"])
    with worker:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([*filter(None, sys.path)]),
                "CELERANT_TEST_BROKER": BROKERS["redis"],
                "CELERANT_TEST_BACKEND": RESULTS,
                "CELERANT_TEST_SETTINGS": json.dumps(settings),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr[-4000:] + "".join(worker.log[-20:])
    values, whole, volleys, types = json.loads(ran.stdout.splitlines()[-1])
    assert values == [i + i for i in range(20)]
    assert whole == [[values], {}]
    assert volleys == [20, 20, 20]
    assert types == ["application/data"] * 20
