"""The examples of CONTRIBUTING.md work as written, each in under 30 lines of new code."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.config import DataConfig, parse_config
from engine.data.readers import table as readers
from engine.data.readers.files import require_folder
from engine.data.table import Source, make_table
from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers import table as samplers
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.schedule import scheduler_config
from engine.errors import ConfigError, DataError
from engine.types import BudgetState, HardCases, IntArray, strings
from policies import registry
from policies.base import STRICT

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, flags=re.DOTALL))


def run_block(name: str, names: dict[str, Any]) -> dict[str, Any]:
    namespace = {"__name__": "example", **names}
    exec(compile(BLOCKS[name], name, "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.parametrize(
    "name", ["policies/budget.py", "engine/data/readers_manifest.py", "engine/diffusion/samplers.py"]
)
def test_an_example_is_short(name: str) -> None:
    assert 0 < len(BLOCKS[name].strip().splitlines()) < 30


def test_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names("budget")
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))
    names = {"register": registry.register, "dataclass": dataclass, "Field": Field, "STRICT": STRICT}
    run_block("policies/budget.py", {**names, "np": np, "BudgetState": BudgetState, "IntArray": IntArray})
    parse_config({"policy": {"budget": {"name": "by_score", "power": 2}}}, check_policy=registry.check)
    cases = HardCases(
        image_id=strings(["a", "b", "c"]), true=strings(["x"] * 3), predicted=strings(["y"] * 3),
        score=np.array([0.6, 0.3, 0.1]),
    )  # fmt: skip
    policy = registry.make("budget", {"name": "by_score"})
    rng = np.random.default_rng(0)
    assert policy.allocate(BudgetState(cases=cases, total=10, round=1), rng).tolist() == [6, 3, 1]
    assert policy.allocate(BudgetState(cases=cases, total=4, round=1), rng).tolist() == [3, 1, 0]
    with pytest.raises(ConfigError, match=r"policy\.budget\.power: 0 is out of bounds; it must be above 0"):
        registry.check("budget", {"name": "by_score", "power": 0})
    empty = HardCases(image_id=strings([]), true=strings([]), predicted=strings([]), score=np.zeros(0))
    assert policy.allocate(BudgetState(cases=empty, total=4, round=1), rng).tolist() == []


def test_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"json": json, "DataConfig": DataConfig, "Source": Source, "make_table": make_table}
    block = run_block(
        "engine/data/readers_manifest.py", {**names, "require_folder": require_folder, "DataError": DataError}
    )
    monkeypatch.setattr(readers, "READERS", {"folder": block["read_manifest"]})
    (tmp_path / "a.png").touch()
    config = DataConfig(format="folder", root=str(tmp_path), on_bad_image="skip")
    with pytest.raises(DataError, match=r"manifest\.json: cannot be read"):
        readers.read(config, seed=0)
    rows = [
        {"image": f"{name}.png", "diagnosis": dx, "lesion": "L"} for name, dx in (("b", "nv"), ("a", "mel"))
    ]
    (tmp_path / "b.png").touch()
    (tmp_path / "manifest.json").write_text(json.dumps(rows), encoding="utf-8")
    source = readers.read(config, seed=0)
    assert source.table.image_id.tolist() == ["a", "b"]
    assert source.table.dx.tolist() == ["mel", "nv"]
    assert source.grouped_by == "lesion"


def test_the_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "SAMPLERS", dict(samplers.SAMPLERS))
    names = {"SAMPLERS": samplers.SAMPLERS, "Any": Any, "partial": partial}
    run_block("engine/diffusion/samplers.py", {**names, "_from_diffusers": samplers._from_diffusers})
    config = scheduler_config("scaled_linear", "epsilon")
    sampler = samplers.make_sampler("deis", SamplerSettings(scheduler_config=config, steps=100))
    process = NoiseProcess(config)
    noise = torch.randn(2000, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    last = process.signal(999)
    start = last * 2 + (last**2 * 0.25 + process.noise(999) ** 2) ** 0.5 * noise

    def denoise(latent: torch.Tensor, timestep: float) -> torch.Tensor:
        """E[eps | x_t] for data N(2, 0.25): its samples must have mean 2 and standard deviation 0.5."""
        a, b = process.signal(timestep), process.noise(timestep)
        return b * (latent - a * 2) / (a**2 * 0.25 + b**2)

    sampled = sampler.run(denoise, start, [torch.Generator()] * 2000)
    assert float(sampled.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(sampled.std()) == pytest.approx(0.5, abs=0.02)
