"""The examples in the docstrings."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import codoperf_otel

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(codoperf_otel.__path__, "codoperf_otel.")
    if not module.name.endswith("__main__")
)
SHOWN = (
    "agents",
    "cache_manager",
    "lazy_loader",
    "performance_monitor",
    "instrumentation",
    "testing",
    "logs",
    "_calls.context",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name, monkeypatch, tmp_path):
    """Every example of a module gives what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    codoperf_otel.clear_performance_metrics()
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.failed == 0


@pytest.mark.parametrize("name", SHOWN)
def test_public_modules_have_examples(name):
    """What users call is shown at work."""
    assert doctest.testmod(importlib.import_module(f"codoperf_otel.{name}")).attempted > 0
