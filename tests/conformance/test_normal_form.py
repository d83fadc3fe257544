"""Comparisons with Celery hide only differences that docs/compatibility.md lists."""

from __future__ import annotations

from conformance import test_canvas_oracle
from harness import canvases, normal_form, oracle
from harness.normal_form import PAGE


def test_all_that_a_comparison_hides_has_its_row_in_the_page():
    assert test_canvas_oracle
    assert canvases
    assert oracle
    hidden = normal_form.hidden()
    assert hidden
    missing = {
        what: where for what, where in hidden.items() if what not in normal_form.rows()
    }
    assert not missing, f"{PAGE.name} lacks rows for {missing}"


def test_a_row_that_is_gone_is_missed(monkeypatch, tmp_path):
    page = tmp_path / "compatibility.md"
    page.write_text(PAGE.read_text().replace("| ids | ", "| names | "))
    monkeypatch.setattr(normal_form, "PAGE", page)
    assert "ids" in normal_form.hidden()
    assert "ids" not in normal_form.rows()
