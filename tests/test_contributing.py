"""The examples of CONTRIBUTING.md work as written, each in under 30 lines of new code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
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
ROOT = Path(__file__).parents[1]


def run_block(name: str, names: dict[str, Any]) -> dict[str, Any]:
    namespace = {"__name__": "example", **names}
    exec(compile(BLOCKS[name], name, "exec", dont_inherit=True), namespace)
    return namespace


@pytest.mark.parametrize("name", list(BLOCKS))
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


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the code in which an example is put into its file."""
    for folder in ("engine", "policies"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def put(clone: Path, file: str, before: str, after: str) -> None:
    text = (clone / file).read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file}: {before!r}"
    (clone / file).write_text(text.replace(before, after), encoding="utf-8")


def run_in(clone: Path, code: str) -> str:
    """Run a script on the copy alone; return what it prints."""
    script = f"import sys; sys.path[:0] = [{str(clone)!r}, {str(ROOT)!r}]\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=clone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


IMPORTS = """import json

import numpy as np

from engine.config import Config
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.stages import base
from engine.stages.outputs import File
"""


@pytest.mark.slow
def test_the_stage(clone: Path, tmp_path: Path) -> None:
    """Two places: the module and the list. The foundation runs it, the dry run counts it."""
    head = (
        '"""Stage ``brightness``: how bright train images are."""\n\nfrom __future__ import annotations\n\n'
    )
    block = BLOCKS["engine/stages/brightness.py"]
    (clone / "engine/stages/brightness.py").write_text(f"{head}{IMPORTS}\n\n{block}", encoding="utf-8")
    put(clone, "engine/stages/__init__.py", '"images", "split", ', '"images", "split", "brightness", ')
    code = """
from pathlib import Path
from engine.artifacts import decoded_images
from engine.commands.planned_work import plan_work
from engine.stages import brightness, find
from engine.stages.base import Sizes
from engine.store import StageFolder
from tests.fakes import make_dataset_folders, run_stage
from tests.integration.tiny import tiny_config
place = Path("made")
images, split = make_dataset_folders(place)
config = tiny_config("out")
out = run_stage(brightness, place / "b", {"images": images, "split": split}, brightness.Params.of(config))
data = {n: StageFolder(name=n, key=n, path=p, seconds=0.0, cached=True) for n, p in (("images", images), ("split", split))}
work = plan_work(config, Sizes(images=9, used=9, train=64, held=4, samples=4), data)
print((out / "brightness.json").read_text(), work["brightness"].units, list(work).index("brightness"))
"""
    text, units, position = run_in(clone, code).rsplit(" ", 2)
    assert 100 < json.loads(text)["mean"] < 255
    assert (int(units), int(position)) == (2, 2)  # 64 images in chunks of 32; behind images and split


@pytest.mark.slow
def test_the_arm(clone: Path) -> None:
    """One place: the row. Config, plan, pool and charts know it."""
    row = textwrap.indent(BLOCKS["engine/arms.py"].rstrip(), "    ")
    put(clone, "engine/arms.py", "_TABLE: Final = (\n", f"_TABLE: Final = (\n{row},\n")
    code = """
from engine.arms import ARMS
from engine.report.charts import colour
from engine.stages import classifier, pool
from tests.integration.tiny import tiny_config
config = tiny_config("out", loop={"arms": ["hard", "repeated"]})
fit = classifier.Params.of(config, "repeated", steps=3, continues=False)
print(colour("repeated"), pool.Params.of(config, "repeated", [{"mel": 2}]).counts, fit.plain, ARMS["repeated"].makes_images)
"""
    assert run_in(clone, code).split() == ["#4d4d4d", "{'mel':", "2}", "True", "False"]


def test_the_figure(clone: Path) -> None:
    """Two places: metrics.py and the report's table. It stands in report.json with its interval."""
    block = BLOCKS["engine/evaluation/metrics.py"]
    function, line = block.split("\n\n\n")
    assert line.strip() == 'FROM_CONFUSION["kappa"] = kappa'
    put(
        clone,
        "engine/evaluation/metrics.py",
        "FROM_CONFUSION: Final",
        f"{function}\n\n\nFROM_CONFUSION: Final",
    )
    put(
        clone,
        "engine/evaluation/metrics.py",
        '    "macro_f1": macro_f1,\n',
        '    "macro_f1": macro_f1,\n    "kappa": kappa,\n',
    )
    column = textwrap.indent(BLOCKS["engine/report/tables.py"].rstrip(), "    ")
    put(
        clone,
        "engine/report/tables.py",
        "COLUMNS: list[Column] = [\n",
        f"COLUMNS: list[Column] = [\n{column},\n",
    )
    code = """
import json
import numpy as np
from engine.evaluation.scoring import ScoredSplit, score_split
from engine.report.tables import COLUMNS
from engine.types import strings
prob = np.eye(2)[[0, 0, 1, 1]]
names = strings(["a", "b", "c", "d"])
split = ScoredSplit(prob_NC=prob, label_N=np.array([0, 0, 1, 0]), lesion_id=names, group_N=names, classes=("nv", "mel"))
found = score_split(split, draws=100, rng=np.random.default_rng(0))
print(json.dumps([found["kappa"]["value"], COLUMNS[0].heading, COLUMNS[0].text({"test": found})]))
"""
    value, heading, text = json.loads(run_in(clone, code))
    assert value == pytest.approx((0.75 - 0.5) / (1 - 0.5))  # by chance: 3/4 x 1/2 + 1/4 x 1/2
    assert heading == "Cohen's kappa"
    assert text.startswith("0.500 (")
