"""What is published, and who may publish it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import celerant

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_there_are_workflows():
    assert {path.name for path in WORKFLOWS} >= {"ci.yml", "wheels.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_gives_no_rights_at_large(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            used = step.get("uses")
            if used is not None:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used), used
            if used is not None and used.startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_only_the_publishing_job_may_have_a_token():
    workflow = yaml.safe_load((ROOT / ".github/workflows/wheels.yml").read_text())
    holders = [
        name
        for name, job in workflow["jobs"].items()
        if "id-token" in job["permissions"]
    ]
    assert holders == ["publish"]
    publish = workflow["jobs"]["publish"]
    assert publish["if"] == "github.event_name == 'push'"
    assert set(publish["needs"]) == set(workflow["jobs"]) - {"publish"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_exist(path):
    targets = set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    called = set(re.findall(r"run: make ([\w-]+)", path.read_text()))
    assert called
    assert called <= targets


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == celerant.__version__


def test_the_compose_file_runs_an_app_that_exists():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name in ("worker", "page"):
        service = compose["services"][name]
        folder = service["volumes"][0].partition(":")[0]
        module = service["command"][2].partition(":")[0]
        assert (ROOT / folder / f"{module}.py").is_file()
