"""hardcase as a library: the examples of README, tables that agree with the files, errors that name the remedy."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine import api
from engine.errors import ConfigError, DataError

pytestmark = pytest.mark.slow
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def tiny(tiny_run: Path) -> api.Run:
    return api.open_run(tiny_run)


def test_figures_are_those_of_the_report(tiny: api.Run) -> None:
    report = json.loads((tiny.path / "report.json").read_text())
    table = tiny.figures()
    assert set(zip(table["round"], table["arm"], strict=True)) == {
        (e["round"], e["arm"]) for e in report["rounds"]
    }
    hard = next(entry for entry in report["rounds"] if (entry["round"], entry["arm"]) == (1, "hard"))
    row = table.query("round == 1 and arm == 'hard' and figure == 'malignant.sensitivity'")
    assert row[["value", "low", "high"]].iloc[0].to_dict() == hard["test"]["malignant"]["sensitivity"]
    val = tiny.figures("val").query("round == 1 and arm == 'hard' and figure == 'accuracy'")
    assert val["value"].item() == hard["val"]["accuracy"]["value"]
    assert {f"per_class.{dx}.sensitivity" for dx in hard["test"]["per_class"]} <= set(table["figure"])
    assert table.dtypes[["value", "low", "high"]].eq(np.float64).all()


def test_a_run_tells_how_it_ended(tiny: api.Run) -> None:
    assert (tiny.finished, tiny.protocol, tiny.config.name) == (True, "safe", "tiny")
    assert tiny.answer.endswith(": not shown.")
    champion = json.loads((tiny.path / "champion.json").read_text())
    assert tiny.champion == (champion["round"], champion["arm"])


def test_tables_of_a_round_are_its_files(tiny: api.Run) -> None:
    cases = tiny.hard_cases(1)
    assert len(cases) and cases["image_id"].is_unique
    images = tiny.synthetic_images(1)
    assert {Image.open(path).size for path in images["path"]} == {(16, 16)}
    made = tiny.predictions(1)
    pd.testing.assert_frame_equal(made, tiny.predictions(1, "hard"))
    names = [name for name in made if name.startswith("p_")]
    np.testing.assert_allclose(made[names].sum(axis=1), 1.0, atol=1e-5)
    real = tiny.predictions(0)
    assert set(real["image_id"]) == set(made["image_id"]) and not real[names].equals(made[names])


def test_predictions_of_photographs_are_those_of_the_run(tiny: api.Run, tmp_path: Path) -> None:
    paths = tiny.synthetic_images(1)["path"].head(3).tolist()
    table = api.predict(tiny, paths, round=1, arm="hard")
    assert table["file"].tolist() == paths
    again = api.predict(tiny.path, paths[0], round=1, arm="hard")
    pd.testing.assert_frame_equal(again, table.head(1))
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(DataError, match=r"cannot be read.*--skip-bad"):
        api.predict(tiny, [*paths, tmp_path / "bad.png"])
    assert len(api.predict(tiny, [*paths, tmp_path / "bad.png"], skip_bad=True)) == 3


def test_differences_between_runs_are_paired(tiny: api.Run) -> None:
    same = api.compare([tiny, tiny.path], draws=20)
    assert same[["value", "low", "high"]].fillna(0.0).eq(0.0).all().all()
    assert {"malignant.auc", "log_loss"} <= set(same["figure"])
    with pytest.raises(DataError, match="two runs or more"):
        api.compare([tiny])


def test_nothing_is_printed_and_what_is_wrong_names_the_remedy(
    tiny: api.Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        DataError, match=r"has no round 7 hard; it has 0 real, 1 (hard, 1 real|real, 1 hard)$"
    ):
        tiny.predictions(7)
    with pytest.raises(DataError, match="round 0 mined nothing"):
        tiny.hard_cases(0)
    with pytest.raises(DataError, match="part: 'train' is not scored; choose from val, test"):
        tiny.figures("train")  # type: ignore[arg-type]
    with pytest.raises(DataError):
        api.open_run(tmp_path)
    (tmp_path / "c.yaml").write_text("loop: {round: 1}\n")
    with pytest.raises(ConfigError, match=r"loop\.round: unknown key"):
        api.run(tmp_path / "c.yaml")
    api.predict(tiny, tiny.synthetic_images(1)["path"].tolist())
    assert capfd.readouterr() == ("", "")


def test_the_examples_of_readme_run(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the tiny config, whose stages are there already."""
    from engine.config import dump_yaml
    from tests.integration.tiny import tiny_config

    config = tiny_config(str(tiny_run.parent), name="tiny", loop={"rounds": 1})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    (tmp_path / "photographs").mkdir()
    Image.new("RGB", (40, 30), "brown").save(tmp_path / "photographs" / "a.jpg")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(from engine import api\n.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "not shown." in said
    assert (tmp_path / "more_melanomas" / "provenance.csv").is_file()


def test_every_public_name_is_documented_and_typed() -> None:
    for name in api.__all__:
        thing = getattr(api, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            hints = inspect.signature(thing)
            assert hints.return_annotation is not inspect.Signature.empty
            assert all(p.annotation is not inspect.Parameter.empty for p in hints.parameters.values())
