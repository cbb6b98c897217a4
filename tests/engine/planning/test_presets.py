"""The presets for GPUs of 24 and 80 GB say the peak that they are planned at, and fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.checked_config import load
from engine.planning.plan import PLANNERS, plan_memory
from engine.planning.setting import Setting
from tests.engine.planning.test_plan import HAM10000

CONFIGS = Path(__file__).parents[3] / "experiments" / "configs"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gigabytes"), [("ham10000_paper_24gb", 24), ("ham10000_paper_80gb", 80)])
def test_presets_say_their_planned_peak_and_fit(name: str, gigabytes: int) -> None:
    """A GPU sold as 24 GB has 23.5 GiB or more; a tenth is left for the CUDA context and workspaces of kernels."""
    path = CONFIGS / f"{name}.yaml"
    plan = plan_memory(Setting(config=load(path, []), data=HAM10000, gpu=True), PLANNERS)
    stage = max(plan, key=lambda one: plan[one].peak)
    host = max(need.host for need in plan.values())
    line = f"#   memory:   {plan[stage].peak / 2**30:.1f} GiB of the GPU ({stage}), {host / 2**30:.1f} GiB of the machine;"
    found = re.search(r"^#   memory:.*", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None and found[0].startswith(line), f"write into {path.name}: {line}"
    assert plan[stage].peak < 0.9 * gigabytes * 10**9
