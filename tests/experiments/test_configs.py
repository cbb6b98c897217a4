"""Every config shipped loads, says what it is for, its command and its cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import build

CONFIGS = sorted((Path(__file__).parents[2] / "experiments" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_a_config_loads_and_its_header_tells_command_and_cost(path: Path) -> None:
    config = build.load(path)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert config.name == path.stem
    assert any("command:" in line and path.name in line for line in header)
    assert any("cost:" in line for line in header)


def test_there_are_configs() -> None:
    assert {p.stem for p in CONFIGS} >= {"demo", "phantom_32", "ham10000_64", "ham10000_64_quick"}
