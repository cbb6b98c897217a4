"""Arms that buy labels: from an oracle in a study, from readers who are waited for; what counts, and what is never seen."""

from __future__ import annotations

import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine import build
from engine.artifacts import asked, labels, lesions, pool, report_json
from engine.artifacts.labels import ORACLE, Answer
from engine.commands import report_command
from engine.commands.compare_command import compare
from engine.commands.finished_run import choose
from engine.commands.run_command import show
from engine.config import Config
from engine.errors import ConfigError
from engine.parts.dataset import open_dataset
from engine.report.run_page import render_report
from engine.report.wording import SIMULATED, number_interval
from engine.store import RunFolder
from engine.types import UNLABELLED
from tests.integration.tiny import TINY, tiny_config

ARMS = ["real", "hard", "hard_and_queried", "queried", "queried_random"]
BRIEF: dict[str, Any] = {"loop": {"rounds": 1}, "synthesis": {"generator": "classical"}}
"""Where labels come from is another matter than where images do: no denoiser is trained."""
SPLIT = {**TINY["data"]["split"], "hide_labels": 0.5}


def config_of(output: Path, name: str, source: str, arms: list[str], **sections: Any) -> Config:
    loop = {
        "rounds": 2,
        "arms": arms,
        "labels_per_round": 6,
        "labels_from": source,
        **sections.pop("loop", {}),
    }
    return tiny_config(str(output), name=name, data={"split": SPLIT}, loop=loop, **sections)


@pytest.fixture(scope="module")
def bought(output: Path) -> RunFolder:
    config = config_of(
        output, "bought", "oracle", ARMS, loop={"compare": "last_round", "generator_saw": "unlabelled"}
    )
    return build.run(config)[0]


def entries(run: RunFolder) -> dict[tuple[int, str], dict[str, Any]]:
    report = json.loads((run.path / "report.json").read_text())
    return {(entry["round"], entry["arm"]): entry for entry in report["rounds"]}


def pool_of(run: RunFolder, number: int, arm: str) -> pool.Pool:
    return pool.read(run.stage(f"rounds/{number:04d}/{arm}/pool").path)


def asked_in(run: RunFolder, number: int, arm: str) -> list[str]:
    return asked.read_ids(run.arm_folder(number, arm)).tolist()


@pytest.mark.slow
def test_labels_bought_in_every_round_join_the_arms_own_images(bought: RunFolder) -> None:
    found = entries(bought)
    dataset = open_dataset(
        bought.stage("foundation/images").path, bought.stage("foundation/split").path, unlabelled=True
    )
    apart = set(dataset.table.image_id[dataset.where(UNLABELLED)].tolist())
    own = set(dataset.table.image_id[dataset.where("train")].tolist())
    truth = lesions.read(bought.stage("foundation/images").path)
    true = dict(zip(truth.image_id.tolist(), truth.dx.tolist(), strict=True))
    for arm in ("queried", "queried_random"):
        first, second = (asked_in(bought, number, arm) for number in (1, 2))
        assert len({*first, *second}) == 12 and {*first, *second} <= apart, "six per round, none twice"
        for number, known in ((1, first), (2, [*first, *second])):
            rows = pool_of(bought, number, arm)
            assert set(rows.image_id.tolist()) == own | set(known)
            assert {
                n: dx for n, dx in zip(rows.image_id.tolist(), rows.dx.tolist(), strict=True) if n in known
            } == {n: true[n] for n in known}
            entry = found[(number, arm)]
            assert entry["labels"] == {
                "asked": len(known), "answered": len(known), "conflicts": 0, "unsure": 0, "simulated": True
            }  # fmt: skip
            assert entry["n_real"] == len(own) + len(known) and sum(entry["pool"]["added"].values()) == 0
    assert asked_in(bought, 1, "queried") != asked_in(bought, 1, "queried_random")
    both, hard = pool_of(bought, 2, "hard_and_queried"), pool_of(bought, 2, "hard")
    assert set(both.image_id[both.origin == "real"].tolist()) == set(
        pool_of(bought, 2, "queried").image_id.tolist()
    )
    assert (
        both.image_id[both.origin == "synthetic"].tolist()
        == hard.image_id[hard.origin == "synthetic"].tolist()
    )
    assert {a.reader for a in labels.read(bought.path)} == {ORACLE}
    for arm in ("real", "hard"):
        assert not apart & set(pool_of(bought, 2 if arm == "hard" else 0, arm).image_id.tolist())
        assert "labels" not in found[(2 if arm == "hard" else 0, arm)]


@pytest.mark.slow
def test_simulated_labels_are_called_so_wherever_their_figures_stand(
    bought: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (bought.path / "report.html").read_text()
    assert SIMULATED in page
    console = Console(width=200)
    report_command.report([bought.path], console)
    compare([bought.path, bought.path], console, round_number=1, arm="queried")
    out = capsys.readouterr().out
    assert out.count(SIMULATED) >= 2, "the answer, and the comparison"
    assert SIMULATED in choose(bought.path, 1, "queried").marked
    assert choose(bought.path, 1, "hard").marked == "round 1 hard", "no label of its pool was bought"


@pytest.mark.slow
def test_readers_are_waited_for_and_their_answers_train(output: Path) -> None:
    config = config_of(output, "readers", "readers", ["real", "hard", "queried"], **BRIEF)
    run, report = build.run(config)
    assert report["stopping"]["action"] == "review"
    assert (
        f"answer what is asked (`hardcase review {run.path}`), then run the same command"
        in report["stopping"]["reason"]
    )
    assert (1, "queried") not in entries(run) and (1, "real") in entries(run), (
        "arms that wait for nobody go on"
    )
    images = asked_in(run, 1, "queried")
    labels.append(run.path, [Answer(image_id=name, reader="ann", dx="nv") for name in images[:-1]])
    assert build.run(config)[1]["stopping"]["action"] == "review", "one image is still open"
    labels.append(run.path, [Answer(image_id=images[-1], reader="ann", kind="unsure")])
    labels.append(run.path, [Answer(image_id=images[0], reader="bob", dx="mel")])
    run, report = build.run(config)
    assert report["stopping"]["action"] != "review"
    assert entries(run)[(1, "queried")]["labels"] == {
        "asked": 6, "answered": 4, "conflicts": 1, "unsure": 1, "simulated": False
    }  # fmt: skip
    rows = pool_of(run, 1, "queried")
    assert set(rows.dx[np.isin(rows.image_id, images)].tolist()) == {"nv"}
    assert set(images) & set(rows.image_id.tolist()) == set(images[1:-1])
    labels.append(run.path, [Answer(image_id=images[1], reader="ann", kind="withdrawn")])
    assert build.run(config)[1]["stopping"]["action"] == "review", "an answer taken back is asked for again"


@pytest.mark.slow
def test_labels_that_no_round_asked_for_make_train_images(output: Path) -> None:
    config = config_of(output, "between", "readers", ["real", "hard"], **BRIEF)
    run, _ = build.run(config)
    dataset = open_dataset(
        run.stage("foundation/images").path, run.stage("foundation/split").path, unlabelled=True
    )
    image = str(dataset.table.image_id[dataset.where(UNLABELLED)[0]])
    before = entries(run)[(0, "real")]
    labels.append(run.path, [Answer(image_id=image, reader="ann", dx="nv")])
    run, _ = build.run(config)
    after = entries(run)[(0, "real")]
    assert after["n_real"] == before["n_real"] + 1
    assert image in pool_of(run, 0, "real").image_id.tolist()
    test = [part for part in ("val", "test") if after[part]["n"] != before[part]["n"]]
    assert test == [], "val and test stay as they were"


@pytest.mark.parametrize(
    ("data", "loop", "message"),
    [
        (
            {},
            {"arms": ["hard", "queried"]},
            "queried asks about unlabelled images; set data.unlabelled: keep",
        ),
        (
            {"split": SPLIT},
            {"arms": ["hard", "hard_and_queried"]},
            "trains on the labels that queried asks for; add queried",
        ),
        (
            {"unlabelled": "keep"},
            {"arms": ["hard", "queried"], "labels_from": "oracle"},
            "hide_labels hides none; set it",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, data: dict[str, Any], loop: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(str(tmp_path), data=data, loop=loop)


@pytest.mark.slow
def test_the_page_draws_learning_curves_and_says_simulated_labels(bought: RunFolder) -> None:
    page = render_report(bought.path)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    assert "SIMULATED LABELS: an oracle uncovered hidden labels" in text.split("What was found")[0]
    figure = report_json.read(bought.path).entry(2, "queried").figure("test", "malignant.auc")
    drawn = re.search(r'aria-label="Malignant AUC by labels asked for\. ([^"]+)"', page)
    assert drawn is not None
    said = html.unescape(drawn[1])
    for arm in ("queried", "queried_random", "hard_and_queried"):
        assert f"({arm}), 12 labels: " in said
    assert f"(queried), 12 labels: {number_interval(figure)}" in said
    assert "(real), without labels: " in said and "(hard), without labels: " in said
    assert "(queried) reached a malignant AUC of" in text
    assert re.search(r"one label (is|was) worth", text)


@pytest.mark.slow
def test_the_end_of_a_run_with_an_oracle_says_simulated_labels(bought: RunFolder) -> None:
    console = Console(file=io.StringIO(), width=200)
    report = json.loads((bought.path / "report.json").read_text())
    show(bought, report, bought.config, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Test figures with 95 % intervals (SIMULATED LABELS)" in said
    last = "\n".join(said.splitlines()[-6:])
    assert "labels   SIMULATED LABELS: an oracle uncovered hidden labels" in last, "in the last lines"
