"""What stands at a path, also where a signal handler raises while it is asked."""

from __future__ import annotations

import os
import signal

import pytest

from codoperf_otel._telemetry import paths

ASKED = ("is_there", "is_file", "is_folder", "is_link", "real_path")


def answers(path):
    """What is said of a path."""
    return [name for name in ASKED[:-1] if getattr(paths, name)(path)]


def test_what_stands_there(tmp_path):
    """A link counts as what it leads to, what cannot be asked as absent, and `real_path` follows links."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "circle").symlink_to("circle")
    assert answers(tmp_path) == ["is_there", "is_folder"]
    assert answers(tmp_path / "file") == ["is_there", "is_file"]
    assert answers(str(tmp_path / "link")) == ["is_there", "is_file", "is_link"]
    assert answers(tmp_path / "circle") == ["is_link"]
    for absent in ("absent", "file/below", "x" * 5000, "\0"):
        assert answers(tmp_path / absent) == [], absent
    assert paths.real_path(tmp_path / "link") == os.path.realpath(tmp_path / "file")
    assert paths.real_path(tmp_path / "absent") == str(tmp_path / "absent")


@pytest.fixture
def time_is_up():
    """What lets a handler raise that stays meanwhile."""

    def handler(*_):
        raise TimeoutError("time is up")

    before = signal.signal(signal.SIGINT, handler)
    yield lambda *_: signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", ASKED)
def test_a_time_out_is_no_answer(name, tmp_path, time_is_up, monkeypatch):
    """What a signal handler raises while a path is asked reaches the program."""
    with monkeypatch.context() as patch:
        for ask in ("stat", "lstat"):
            patch.setattr(os, ask, time_is_up)
        with pytest.raises(TimeoutError, match="time is up"):
            getattr(paths, name)(tmp_path)
