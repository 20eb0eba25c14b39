"""Memory and energy of an attempt: measured if possible, else null, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.foundation.files import read_json, write_json
from toolkit.runs import environment, usage
from toolkit.runs.usage import usage_recorded


def counter(folder: Path, zone: str, microjoules: int) -> None:
    (folder / zone).mkdir(exist_ok=True)
    (folder / zone / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(usage, "_RAPL", tmp_path)
    monkeypatch.setattr(usage, "gpu_joules", lambda: None)
    write_json(tmp_path / "environment.json", {"attempt": 1})
    return tmp_path


def test_energy_is_the_difference_of_the_package_counters(rapl: Path) -> None:
    counter(rapl, "intel-rapl:0", 1_000_000)
    counter(rapl, "intel-rapl:0:0", 400_000)  # a part of the package
    counter(rapl, "intel-rapl:1", 0)
    with usage_recorded(rapl / "environment.json"):
        counter(rapl, "intel-rapl:0", 6_000_000)
        counter(rapl, "intel-rapl:0:0", 4_400_000)
        counter(rapl, "intel-rapl:1", 2_500_000)
    facts = read_json(rapl / "environment.json")
    assert (facts["attempt"], facts["energy_joules"]) == (1, 7.5)
    assert facts["peak_memory_bytes"] > 1e7


def test_unknown_energy_is_null(rapl: Path) -> None:
    with usage_recorded(rapl / "environment.json"):
        pass
    assert read_json(rapl / "environment.json")["energy_joules"] is None
    counter(rapl, "intel-rapl:0", 9_000_000)
    with usage_recorded(rapl / "environment.json"):
        counter(rapl, "intel-rapl:0", 1)  # the counter was reset
    assert read_json(rapl / "environment.json")["energy_joules"] is None


def test_usage_is_recorded_for_failures_without_hiding_them(rapl: Path) -> None:
    with pytest.raises(ZeroDivisionError), usage_recorded(rapl / "environment.json"):
        raise ZeroDivisionError
    assert "peak_memory_bytes" in read_json(rapl / "environment.json")
    with pytest.raises(ZeroDivisionError), usage_recorded(rapl / "none" / "environment.json"):
        raise ZeroDivisionError


def test_git_state_describes_the_toolkits_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment.toolkit, "__file__", str(tmp_path / "toolkit" / "__init__.py"))
    assert environment.git_state.__wrapped__() is None
