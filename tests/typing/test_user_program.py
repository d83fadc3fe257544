from __future__ import annotations

import re
from pathlib import Path

import pytest

import celerant

pytest.importorskip("mypy")

from mypy import api


def test_the_program_uses_every_public_name():
    text = Path(__file__).with_name("user_program.py").read_text()
    missing = [
        name for name in celerant.__all__ if len(re.findall(rf"\b{name}\b", text)) < 2
    ]
    assert missing == []


@pytest.mark.timeout(180)
def test_a_users_program_passes_mypy_strict(tmp_path):
    program = Path(__file__).with_name("user_program.py")
    configuration = tmp_path / "mypy.ini"
    configuration.write_text("[mypy]\nstrict = True\n")

    out, err, status = api.run(
        [
            "--config-file",
            str(configuration),
            f"--cache-dir={tmp_path / 'cache'}",
            str(program),
        ]
    )

    assert (err, status) == ("", 0), out
