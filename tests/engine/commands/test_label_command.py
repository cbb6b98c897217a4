"""`hardcase label` as it is called: what it prints, exit codes, hidden labels of a real split, options that do not fit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import build, cli
from engine.artifacts import labels, split
from engine.artifacts.labels import ORACLE, Answer
from engine.pipeline.foundation import lay_data
from engine.pipeline.publish import Publisher
from engine.store import RunFolder
from engine.types import UNLABELLED
from tests.engine.labelling.labelled_run import said, write_questions, write_run
from tests.integration.tiny import tiny_config


def label(run: Path, *arguments: object, code: int = 0) -> str:
    result = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(
        cli.app, ["label", str(run), *map(str, arguments)]
    )
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "run", [f"U{n}" for n in range(1, 6)])
    write_questions(run / "queries" / "0000", {"U2": "mel", "U1": "nv", "U3": "nv"})
    return run


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text("image_id,dx,reader,comment\nU2,Melanoma,ann,\nU1,naevus,ann,\nU3,,ann,no idea yet\n")
    return path


def test_from_the_first_answers_to_agreement(run: Path, answers: Path) -> None:
    assert "nobody has answered yet: hardcase label " in label(run)
    text = label(run, answers, "--guess-shown")
    assert "2 answers added: 2 new, 0 changed" in text
    assert "1 row without an answer skipped" in text
    assert "2 images labelled, 0 in conflict, 1 question open" in text
    assert f"train with them: hardcase run {run / 'config.yaml'}" in text
    assert "nothing new: every answer of the file stands already" in label(run, answers, "--guess-shown")

    answers.write_text("image_id;dx\nU2;nv\nU1;nv\n")
    assert f"conflicts: hardcase label {run}" in label(run, answers, "--reader", "bob")
    text = label(run)
    assert "questions  3 asked, 2 answered, 1 open" in text
    assert "images     1 labelled, 1 in conflict, 0 unsure" in text
    assert "ann: mel, bob: nv" in text
    assert f"  hardcase label {run} --withdraw IMAGE --reader NAME\n" in text
    assert "ann and bob (Cohen)" in text and "both (Fleiss)" in text
    assert "2 answers with the model's guess shown before: 2 name the model's class (100.0\u00a0%)" in text
    assert "2 answers without the model's guess shown: 1 name the model's class (50.0\u00a0%)" in text
    assert "not shown to change once its guess was shown: +50.0 points (+0.0 to +100.0); nobody drew" in text
    assert "SIMULATED" not in text

    text = label(run, "--withdraw", "U2.jpg", "--reader", "bob")
    assert "withdrawn: nv of bob on U2; the answer is kept, and counts no more" in text
    assert labels.settle(labels.read(run)).labels == {"U1": "nv", "U2": "mel"}
    answers.write_text("image_id,dx\nU2,nv\n")
    text = label(run, answers, "--reader", "ann")
    assert "1 answer added: 0 new, 1 changed" in text
    assert "mel, guess shown" in text and "nv, guess shown" in text


def test_a_file_of_empty_rows(run: Path, answers: Path) -> None:
    answers.write_text("image_id,dx,reader\nU1,,\nU2,,\n")
    text = label(run, answers)
    assert "the file has no answers" in text and "2 rows without an answer skipped" in text
    assert labels.read(run) == ()


def test_a_bad_row_is_one_message(run: Path, answers: Path) -> None:
    answers.write_text("image_id,dx,reader\nU1,mel,ann\nU2,mole?,ann\n")
    text = label(run, answers, code=2)
    assert text.startswith(f"error: {answers}, line 3: dx 'mole?' is no class of the run; write bkl, mel, nv")
    assert len(text.splitlines()) == 1
    assert labels.read(run) == ()


def test_a_run_that_is_being_written_may_be_labelled(run: Path, answers: Path) -> None:
    lock = RunFolder(run, tiny_config(str(run.parent))).lock()
    try:
        assert "2 answers added" in label(run, answers)
    finally:
        lock.release()


def test_nothing_to_withdraw(run: Path) -> None:
    labels.append(run, [said("U1", "ann", "mel")])
    text = label(run, "--withdraw", "U1", "--reader", "bob", code=2)
    assert "--withdraw: bob has no answer to U1 that could be withdrawn; answers are of ann" in text
    text = label(run, "--withdraw", "U2", "--reader", "bob", code=2)
    assert "nobody has answered it" in text
    assert "did you mean" in label(run, "--withdraw", "U22", "--reader", "bob", code=2)
    assert len(labels.read(run)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "--oracle"], "--oracle: does not go with ANSWERS; give one of"),
        (["--withdraw", "U1", "--oracle"], "--oracle: does not go with --withdraw"),
        (["--count", "3"], "--count: says how many hidden labels --oracle uncovers"),
        (["--guess-shown"], "--guess-shown: says how the answers of a file were given"),
        (["--reader", "ann"], "--reader: says who gave the answers of a file"),
        (["--oracle", "--reader", "ann"], "--reader: says who gave the answers of a file"),
        (["--withdraw", "U1"], "--reader: nobody is named; --withdraw takes back one reader's answer"),
        (["--withdraw", "U1", "--reader", ORACLE], "--reader: reader 'oracle' is what uncovered labels"),
        (["none.csv"], "none.csv: cannot be read (No such file or directory)"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], message: str, run: Path) -> None:
    assert message in label(run, *arguments, code=2)
    assert labels.read(run) == ()


def test_no_run(tmp_path: Path) -> None:
    assert "no run folder (config.yaml is missing)" in label(tmp_path, code=2)


def data_only_run(output: Path, name: str, **split_keys: Any) -> Path:
    """Return a run that has got as far as its split."""
    config = tiny_config(str(output), name=name)
    parts = config.data.split.model_copy(update=split_keys)
    config = config.model_copy(update={"data": config.data.model_copy(update={"split": parts})})
    folder = RunFolder.create(config)
    lay_data(build.wire(config, folder=folder, track=False).loop(page=False).pipeline)
    Publisher(folder).split(folder.stage("foundation/split"))
    return folder.path


@pytest.fixture(scope="module")
def hiding_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_only_run(tmp_path_factory.mktemp("runs"), "hiding", hide_labels=0.6)


def test_the_oracle_uncovers_open_questions(hiding_run: Path) -> None:
    table = split.read(hiding_run)
    images = table.image_id[table.split == UNLABELLED].tolist()[:5]
    write_questions(hiding_run / "queries" / "0000", dict.fromkeys(reversed(images), "nv"))
    assert "SIMULATED LABELS: 2 hidden labels uncovered, 3 open questions left" in label(
        hiding_run, "--oracle", "--count", 2
    )
    found = labels.read(hiding_run)
    assert [answer.image_id for answer in found] == images[:2:-1]
    labels.append(hiding_run, [Answer(image_id=images[0], reader="ann", dx="nv")])
    assert "SIMULATED LABELS: 2 hidden labels uncovered, 0 open questions left" in label(
        hiding_run, "--oracle"
    )
    assert "SIMULATED LABELS: 0 hidden labels uncovered" in label(hiding_run, "--oracle")
    text = label(hiding_run)
    assert text.startswith("SIMULATED LABELS: the oracle uncovered hidden labels")
    assert "4 of them by the oracle alone" in text
    truth = split.read(_unhidden(hiding_run))
    known = dict(zip(truth.image_id.tolist(), truth.dx.tolist(), strict=True))
    assert {
        answer.dx == known[answer.image_id] for answer in labels.read(hiding_run) if answer.simulated
    } == {True}


def _unhidden(run: Path) -> Path:
    return data_only_run(run.parent, "open")


def test_a_run_that_hides_nothing_has_no_oracle(hiding_run: Path) -> None:
    text = label(_unhidden(hiding_run), "--oracle", code=2)
    assert (
        "hides no labels (data.split.hide_labels is null)" in text
        and "have readers answer: hardcase label" in text
    )


def test_a_run_without_its_cache_says_so(hiding_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(hiding_run, tmp_path / "alone")
    assert "the stage cache of" in label(copy, "--oracle", code=2)
