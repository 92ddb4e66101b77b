"""Folders are made as `mkdir` does, but for what signal handlers raise meanwhile."""

from __future__ import annotations

import os
import signal

import pytest

from codoperf_otel._ownership import make_folder


def test_those_around_are_made_too(tmp_path):
    """The mode is that of the innermost; one that is there stays as it is."""
    folder = tmp_path / "around" / "inside"
    make_folder(folder, 0o700)
    make_folder(folder, 0o755)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_file_in_its_place_is_an_error(tmp_path):
    """As with `mkdir`."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs POSIX signals")
def test_a_time_out_is_the_programs(tmp_path, monkeypatch):
    """`TimeoutError` is an `OSError`, and not one of a folder that is there."""

    def handler(*_):
        raise TimeoutError

    def interrupted(*args):
        mkdir(*args)
        signal.raise_signal(signal.SIGALRM)

    mkdir = os.mkdir
    monkeypatch.setattr(os, "mkdir", interrupted)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with pytest.raises(TimeoutError):
            make_folder(tmp_path / "folder")
    finally:
        signal.signal(signal.SIGALRM, before)
