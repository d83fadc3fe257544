from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mypy")

from mypy import api


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
