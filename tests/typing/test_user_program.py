from __future__ import annotations

import re
from pathlib import Path

import pytest

import celerant
from harness.type_checks import mypy_errors

pytest.importorskip("mypy")


def test_the_program_uses_every_public_name():
    text = Path(__file__).with_name("user_program.py").read_text()
    missing = [
        name for name in celerant.__all__ if len(re.findall(rf"\b{name}\b", text)) < 2
    ]
    assert missing == []


@pytest.mark.timeout(180)
def test_a_users_program_passes_mypy_strict(tmp_path):
    program = Path(__file__).with_name("user_program.py")
    assert mypy_errors(tmp_path, "[mypy]\nstrict = True\n", program) == ""
