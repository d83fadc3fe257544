from __future__ import annotations

import os
import subprocess
import sys
import threading
from unittest import mock

import celery
import pytest
from celery import canvas

import celerant.celery
from celerant.celery import group, install, uninstall


def test_installing_twice_is_installing_once():
    original = vars(canvas.group)["apply_async"]
    install()
    once = vars(canvas.group)["apply_async"]
    install()
    assert vars(canvas.group)["apply_async"] is once is not original
    uninstall()
    assert vars(canvas.group)["apply_async"] is original
    uninstall()
    assert vars(canvas.group)["apply_async"] is original


def test_the_context_manager_uninstalls_also_after_an_error():
    original = vars(canvas.group)["apply_async"]
    with pytest.raises(KeyError), install():
        raise KeyError
    assert vars(canvas.group)["apply_async"] is original


def test_a_later_wrapper_stays_and_ours_passes_through(make_app, volleys, monkeypatch):
    side = make_app()
    install()
    ours = vars(canvas.group)["apply_async"]
    seen = []

    def theirs(self, *args, **kwargs):
        seen.append(self)
        return ours(self, *args, **kwargs)

    monkeypatch.setattr(canvas.group, "apply_async", theirs)
    celery.group([side.add.s(1, 1)] * 2).apply_async()
    assert (len(seen), volleys) == (1, [2])
    uninstall()
    assert vars(canvas.group)["apply_async"] is theirs
    celery.group([side.add.s(1, 1)] * 2).apply_async()
    assert (len(seen), volleys) == (2, [2])
    # Installed again under them: no second layer.
    install()
    assert vars(canvas.group)["apply_async"] is theirs
    celery.group([side.add.s(1, 1)] * 2).apply_async()
    assert (len(seen), volleys) == (3, [2, 2])
    uninstall()
    monkeypatch.undo()
    assert vars(canvas.group)["apply_async"] is ours


def test_an_earlier_wrapper_is_called(make_app, monkeypatch):
    side = make_app()
    original = vars(canvas.group)["apply_async"]
    seen = []

    def theirs(self, *args, **kwargs):
        seen.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(canvas.group, "apply_async", theirs)
    with install():
        celery.group([side.add.s(1, 1)] * 2).apply_async()
    assert len(seen) == 1


def test_threads_install_and_uninstall_at_once():
    original = vars(canvas.group)["apply_async"]
    start = threading.Barrier(8)

    def work():
        start.wait()
        for _ in range(200):
            install()
            uninstall()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert vars(canvas.group)["apply_async"] is original


def test_a_replacement_of_an_earlier_installation_is_taken_out(monkeypatch):
    original = vars(canvas.group)["apply_async"]
    install()
    earlier = vars(canvas.group)["apply_async"]
    monkeypatch.setattr(canvas.group, "apply_async", original)
    install()
    assert vars(canvas.group)["apply_async"] is not earlier
    # Other code puts back the method that it had found.
    monkeypatch.undo()
    assert vars(canvas.group)["apply_async"] is earlier
    uninstall()
    assert vars(canvas.group)["apply_async"] is original


def test_a_wrapper_after_uninstalling_gets_a_replacement_of_its_own(monkeypatch):
    install()
    ours = vars(canvas.group)["apply_async"]
    uninstall()
    original = vars(canvas.group)["apply_async"]

    def theirs(self, *args):
        return original(self, *args)

    monkeypatch.setattr(canvas.group, "apply_async", theirs)
    with install():
        found = vars(canvas.group)["apply_async"]
        assert found.__wrapped__ is theirs
        assert found is not ours


@pytest.mark.parametrize("version", ["5.4.0", "5.8.0", "6.0.0rc1"])
def test_an_unknown_celery_is_left_alone(version):
    original = vars(canvas.group)["apply_async"]
    with (
        mock.patch.object(celery, "__version__", version),
        pytest.warns(RuntimeWarning, match="not known to celerant.celery"),
    ):
        install()
    assert vars(canvas.group)["apply_async"] is original


def test_the_explicit_group_needs_no_installing(make_app, both_ways, volleys):
    side = make_app()
    members = [side.add.s(i, i) for i in range(3)]
    stock, ours = both_ways(side, lambda: celery.group(members).apply_async())
    assert stock == ours
    volleys.clear()
    found = group(members).apply_async()
    assert isinstance(found, celery.result.GroupResult)
    assert volleys == [3]
    assert isinstance(group(members), celery.group)


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["-c", "import celerant.celery.auto, t"], {}),
        (["-c", "import t; t.app.loader"], {"CELERY_LOADER": "celerant.celery:Loader"}),
    ],
)
def test_environment_and_command_line_install_the_swap_in(
    tmp_path, arguments, environment
):
    (tmp_path / "t.py").write_text(
        "import atexit, celery, celery.canvas\n"
        "app = celery.Celery('t')\n"
        "show = lambda: print(celery.canvas.group.apply_async.__code__.co_filename)\n"
        "atexit.register(show)\n"
    )
    # The path, if this Celerant is not installed but lent.
    carried = {k: v for k, v in os.environ.items() if k == "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={"PATH": "", **environment, **carried},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == celerant.celery.installing.__file__
