"""What a page says of bought labels: sentences worked out by hand, the block of one run, the block of a study."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from engine.artifacts import labels
from engine.artifacts.labels import Answer
from engine.artifacts.run_files import read_run
from engine.report.blocks.labels import run_labels, savings_sentence, study_labels, worth_sentence
from engine.report.run_page import render_report
from engine.study.design import find_design
from engine.study.labels import Amount, Savings
from engine.study.run_replicates import open_replicate
from tests.engine.labelling.labelled_run import write_questions
from tests.engine.report.fake_run import make_run
from tests.engine.study.fake_labels import ASKED, write_label_study

GAIN = {"queried": 0.5, "queried_random": 0.25, "hard": 0.4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("labels")
    return write_label_study(root, GAIN, replicates=2, lesions=300, simulated=False)


def savings(value: float, low: float, high: float) -> Savings:
    return Savings(labels=100, reached=0.8123, needed=Amount(value=value, low=low, high=high), most=200)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            savings(150, 80, math.inf),
            "With 100 labels the classifier trained with labels the model asked for (queried) reached a malignant AUC of "
            "0.812; trained with labels asked for at random (queried_random) it needs 150 (80 to more than 200) "
            "labels for it: a share of 33\u00a0% (-25 to more than 50) saved.",
        ),
        (
            savings(math.inf, 120, math.inf),
            "(queried_random) it needs more than 200 (120 to more than 200) labels for it: a share of more than 50\u00a0% "
            "(17 to more than 50) saved.",
        ),
        (savings(50, 0, 200), "needs 50 (0 to 200) labels for it: the share saved is not shown, since"),
    ],
)
def test_label_savings_in_a_sentence(found: Savings, text: str) -> None:
    assert text in savings_sentence(found)


def test_the_worth_of_a_label_in_a_sentence() -> None:
    text = worth_sentence(Amount(value=8.04, low=-1.0, high=math.inf), "")
    assert "one label was worth 8.0 (-1.0 to any number of) synthetic images" in text
    assert worth_sentence(None, "no label was bought").endswith("is not shown: no label was bought.")


def test_the_block_of_one_run(runs: list[Path]) -> None:
    run = read_run(runs[0])
    found = run_labels(run, find_design([open_replicate(run)]), 50)
    assert found is not None
    assert [(row["round"], row["arm"], row["cells"][:4]) for row in found["rows"]] == [
        ("0", "real", ["0", "0", "0", "0"]),
        ("1", "real", ["0", "0", "0", "0"]),
        ("1", "queried", [str(ASKED), "37", "2", "1"]),
        ("1", "queried_random", [str(ASKED), "37", "2", "1"]),
        ("1", "hard", ["0", "0", "0", "0"]),
    ]
    assert [title for title, _ in found["charts"]] == ["Malignant AUC", "Malignant sensitivity"]
    assert (
        "With 40 labels the classifier trained with labels the model asked for (queried) reached"
        in found["savings"]
    )


def test_agreement_and_guesses_are_told_where_readers_answered(runs: list[Path], tmp_path: Path) -> None:
    run = read_run(shutil.copytree(runs[0], tmp_path / "run"))
    assert run.split is not None
    first, second = run.split.image_id[:2].tolist()
    write_questions(run.layout.arm_folder(1, "queried"), {first: "mel", second: "nv"})
    nobody = run_labels(run, None, 0)
    assert nobody is not None and nobody["readers"] == []
    labels.append(run.path, [Answer(image_id=first, reader="ann", dx="mel")])
    labels.append(run.path, [Answer(image_id=second, reader="ann", dx="nv", guess_shown=True)])
    alone = run_labels(run, None, 0)
    assert alone is not None
    assert alone["readers"] == [
        "No two readers have an image in common, so their agreement cannot be told.",
        "The model's guess was shown before 1 of 2 labels that readers gave.",
    ]
    labels.append(run.path, [Answer(image_id=name, reader="bob", dx="mel") for name in (first, second)])
    both = run_labels(run, None, 0)
    assert both is not None
    agreement, guesses = both["readers"]
    assert agreement.startswith(
        "2 readers have 2 images in common. They say the same of 50.0\u00a0%; Fleiss' kappa"
    )
    assert guesses == "The model's guess was shown before 1 of 4 labels that readers gave."


def test_the_block_of_a_study(runs: list[Path]) -> None:
    files = [read_run(path) for path in runs]
    found = study_labels(files, find_design([open_replicate(run) for run in files]), 50)
    assert found is not None and found["replicates"] == 2
    (title, chart), *more = found["charts"]
    assert title == "Malignant AUC" and more == []
    assert "(queried), 40 labels: 0." in chart and "(hard), without labels: 0." in chart
    assert [(row["round"], row["arm"], row["cells"][:4]) for row in found["rows"]] == [
        ("0", "real", ["0"] * 4),
        ("1", "real", ["0"] * 4),
        ("1", "hard", ["0"] * 4),
        ("1", "queried", ["40", "37", "2", "1"]),
        ("1", "queried_random", ["40", "37", "2", "1"]),
    ]


def test_a_run_that_bought_no_labels_has_no_block(tmp_path: Path) -> None:
    run = make_run(tmp_path / "demo", lesions=220, rounds=1)
    assert run_labels(read_run(run), None, 10) is None
    assert 'id="labels"' not in render_report(run) and "#labels" not in render_report(run)


def test_a_run_whose_arms_cannot_be_compared_still_has_its_curve(runs: list[Path]) -> None:
    found = run_labels(read_run(runs[0]), None, 0)
    assert found is not None and "(queried), 40 labels" in found["charts"][0][1]
    assert found["savings"].startswith("Label savings are not shown") and found["savings_rows"] == []
