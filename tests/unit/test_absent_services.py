"""Tests skip and say so if Redis or RabbitMQ is absent, and fail in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "Redis": "tests/integration/test_remote_control.py",
    "RabbitMQ": "tests/integration/test_accounting_rabbitmq.py",
}


def _run(service, **environment):
    port = str(free_port())
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *(TESTS[service], "-k", "celery_inspect or full_queue"),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            f"CELERANT_TEST_{service.upper()}_PORT": port,
            "CI": "",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran, f"{service} at 127.0.0.1:{port} is absent: start it to run this test"


@pytest.mark.timeout(90)
@pytest.mark.parametrize("service", TESTS)
def test_tests_of_a_missing_service_skip_and_tell_why(service):
    ran, reason = _run(service)
    assert ran.returncode == 0, ran.stdout
    assert reason in ran.stdout
    assert "passed" not in ran.stdout


@pytest.mark.timeout(90)
@pytest.mark.parametrize("service", TESTS)
def test_tests_of_a_missing_service_fail_in_ci(service):
    ran, reason = _run(service, CI="true")
    assert ran.returncode == 1, ran.stdout
    assert reason in ran.stdout
