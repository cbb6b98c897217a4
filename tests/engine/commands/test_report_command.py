"""`hardcase report` on one run and on several: what is printed, what is written, what is refused."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from engine.artifacts import labels
from engine.artifacts.labels import ORACLE, Answer
from engine.commands.report_command import names_of, report
from engine.errors import ConfigError, DataError
from tests.engine.study.fake_study import write_study


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_study(
        tmp_path_factory.mktemp("runs"), arms=("real", "random", "hard"), lesions=300, replicates=2
    )


def said(runs: list[Path], out: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=300)
    report(runs, console, out=out)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_one_run_gets_its_page_and_the_answer(runs: list[Path]) -> None:
    text = said(runs[:1])
    assert "answer   Hard cases changed malignant sensitivity at 90 % specificity by" in text
    assert "why      1 training set; 5 are the fewest for a claim" in text
    assert (runs[0] / "report.html").is_file()


def test_the_answer_of_a_run_mined_from_test_is_marked(runs: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(runs[0], tmp_path / "leaky")
    record = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**record, "protocol": "leaky"}))
    assert "answer   LEAKY: Hard cases changed" in said([copy])
    assert "LEAKY" not in said(runs[:1])


def test_several_runs_make_one_study_that_may_be_written_again(runs: list[Path], tmp_path: Path) -> None:
    for _ in range(2):
        text = said(runs, tmp_path / "study")
    assert "why      2 training sets; 5 are the fewest for a claim" in text
    record = json.loads((tmp_path / "study/study.json").read_text())
    assert record["answer"]["sentence"] in text
    assert [run["name"] for run in record["runs"]] == ["run_0", "run_1"]
    page = (tmp_path / "study/study.html").read_text()
    assert "against training on real images alone (real) and" in page
    plain = re.sub(r'<span class="interval">(.*?)</span>', r"\1", page)
    assert record["answer"]["sentence"].split(" against real")[0] in plain


def test_several_runs_need_a_folder_and_one_run_none(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out: name a folder"):
        said(runs)
    with pytest.raises(ConfigError, match=r"--out: one run's page"):
        said(runs[:1], tmp_path)


def test_runs_of_other_configs_are_refused_by_key(runs: list[Path], tmp_path: Path) -> None:
    other = write_study(tmp_path, arms=("real", "random", "hard"), lesions=300, replicates=2)[1]
    tree = yaml.safe_load((other / "config.yaml").read_text())
    tree["classifier"]["steps"] = 7
    (other / "config.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"differ in classifier\.steps \(1500 and 7\)"):
        said([runs[0], other], tmp_path / "out")


def test_a_run_given_twice_is_refused(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is given twice"):
        said([runs[0], runs[0]], tmp_path / "out")


def test_runs_of_one_name_are_told_apart_by_their_folder() -> None:
    assert names_of([Path("/a/run"), Path("/b/run"), Path("/b/other")]) == ["a/run", "b/run", "other"]


def test_labels_of_an_oracle_are_marked_in_the_terminal_and_in_both_pages(
    runs: list[Path], tmp_path: Path
) -> None:
    title = "SIMULATED LABELS: an oracle uncovered hidden labels"
    said(runs, tmp_path / "plain")
    assert title not in said(runs[:1]) and "SIMULATED" not in (tmp_path / "plain/study.html").read_text()
    assert json.loads((tmp_path / "plain/study.json").read_text())["simulated_labels"] is False
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    labels.append(copies[1], [Answer(image_id="a", reader=ORACLE, dx="nv")])
    one = said(copies[1:])
    assert one.index(f"labels   {title}") < one.index("answer   ")
    assert title in (copies[1] / "report.html").read_text()
    study = said(copies, tmp_path / "study")
    assert study.index(f"labels   {title}") < study.index("answer   ")
    page = (tmp_path / "study/study.html").read_text()
    assert page.index(title) < page.index("Hard cases changed")
    assert json.loads((tmp_path / "study/study.json").read_text())["simulated_labels"] is True
