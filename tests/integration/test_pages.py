"""Every command that README or a page of docs/ shows in a block is typed here, in order, on files of the kind it names.

Sizes alone differ: a config that `init` has written is read, then replaced by the tiny one of tests/integration/tiny.py.
tests/test_site.py plays the tutorial, and parses the commands that stand in sentences.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from engine import build
from engine.cli import app
from engine.config import Config, dump_yaml
from tests.conftest import once
from tests.engine.data.public_layouts import LAYOUTS
from tests.engine.labelling.test_label_studio import annotation, choice
from tests.engine.review.served import served
from tests.integration.tiny import TINY, copy_stages, tiny_config
from tests.test_site import DOCS, PAGES, ROOT, fenced

pytestmark = pytest.mark.slow

NOT_TYPED = {
    "make demo": "played from a fresh clone before every release; tests/integration/test_whole_runs.py is smaller",
    "make test": "CI itself",
    "pip install": "asks a package index; tests/test_wheel.py reads what the extras bring",
    "pipx install": "asks a package index; a step of the release in CONTRIBUTING.md",
    "uvx --from": "as above",
    "ray ": "needs machines; tests/test_deploy.py reads the files it names",
    "export RAY_AUTH_MODE": "as above",
    "hardcase run experiments/configs/": "takes hours; tests/experiments/test_configs.py reads the configs",
}
"""How the lines begin that no test types, and why."""
SMALL = {
    "policy.mining={name: margin, top_k: 64}": "policy.mining={name: margin, top_k: 8}",
    "loop.rounds=4": "loop.rounds=1",
    "loop.rounds=3": "loop.rounds=1",
    "--count=50": "--count=5",
    "RUN": "runs/mine",
    "DATA_FOLDER": "lesions",
    "DIR": "others",
    "s3://bucket/team/run": "s3://bucket/team/mine",
}
"""What is typed in the place of a word."""
LAYOUT_OF = {
    "lesions": "long_class_folders",
    "ham10000": "kaggle_ham10000",
    "isic2019": "isic_2019",
    "isic2018": "isic_2018",
    "clinic": "pad_ufes_20",
}
"""What lies in the folders that pages name."""
CLAIM, CLUSTER, TUTORIAL = DOCS / "claim.md", DOCS / "cluster.md", DOCS / "tutorial.md"
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}


def lines(page: Path) -> list[str]:
    """The lines of a page's blocks that are typed; continued ones are joined."""
    blocks = [block.replace("\\\n", " ") for block in fenced(page, "", "bash")]
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def calls(page: Path) -> list[list[str]]:
    """The arguments of every call of hardcase on a page, with what stands for its capitals."""
    found = []
    for line in lines(page):
        if not any(line.startswith(beginning) for beginning in NOT_TYPED):
            program, *words = shlex.split(line, comments=True)
            assert program == "hardcase", f"{NAMES[page]}: nothing types {line!r}"
            text = "\n".join(words).replace("--count\n50", "--count\n5")
            found.append([SMALL.get(word, word) for word in text.split("\n")])
    return found


HERE = [page for page in PAGES if page not in (CLAIM, CLUSTER, TUTORIAL) and calls(page)]


def config_of(output: str, name: str, **data: Any) -> Config:
    """The tiny config, half of whose train lesions have no diagnosis."""
    split = {**TINY["data"]["split"], "hide_labels": 0.5}
    return tiny_config(output, name=name, loop={"rounds": 1}, data={"split": split, **data})


@pytest.fixture(scope="session")
def mine(output: Path) -> Path:
    config = config_of(str(output), "of_pages")
    return once(output / "of_pages", lambda: build.run(config))


@pytest.fixture
def place(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the files that pages take for granted; a run of the page finds its stages in the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROWSER", "true")
    copy_stages(mine, tmp_path / "runs")
    for name in ("my.yaml", "config.yaml"):
        Path(name).write_text(dump_yaml(config_of("runs", "mine")), encoding="utf-8")
    build.run(config_of("runs", "mine"))
    return tmp_path


def hardcase(call: list[str]) -> str:
    """Type a command; returns what it printed."""
    if call[0] == "review":
        with served(Path(call[1]), *call[2:]) as page:
            assert urllib.request.urlopen(page.address).status == 200
            page.process.send(signal.SIGINT)
            assert page.process.wait() == 0
            return page.process.said()
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, call)
    assert result.exit_code == 0, f"hardcase {shlex.join(call)}\n{result.output}"
    return str(result.output)


def before(call: list[str]) -> list[str]:
    """Lay out what a command is about to read, as its page says; returns the command with the names of today."""
    for name, layout in LAYOUT_OF.items():
        if name in {word.rpartition("=")[2] for word in call} and not Path(name).exists():
            LAYOUTS[layout](Path(name))
    if "--unlabelled" in call:
        photographs = sorted(Path("lesions").rglob("*.jpg"))
        for number, photograph in enumerate(photographs[:5]):
            place = Path(call[call.index("--unlabelled") + 1]) / f"other_{number}.jpg"
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(photograph, place)
    if call[0] == "init":  # on most pages my.yaml is there already
        Path(call[-1]).unlink(missing_ok=True)
    if "pictures" in call:  # one table, its pictures elsewhere
        shutil.rmtree("pictures", ignore_errors=True)
        LAYOUTS["isic_2019" if "ISIC" in call[1] else "pad_ufes_20"](Path("pictures"))
        (table,) = Path("pictures").rglob(call[1])
        if "--label" in call:
            frame = pd.read_csv(table).rename(columns={"diagnostic": call[call.index("--label") + 1]})
            frame.to_csv(call[1], index=False)
        else:
            shutil.move(table, call[1])
    if call[0] == "label" and len(call) > 2:
        return answered(call)
    return call


def answered(call: list[str]) -> list[str]:
    """Fill in the answers that a reader is about to hand in."""
    blank = pd.read_csv("ask/answers.csv", keep_default_na=False)
    if call[2] == "ask/answers.csv":
        blank.assign(dx="nv").to_csv(call[2], index=False)
    elif call[2] == "export.json":
        tasks = json.loads(Path("ask/label_studio_tasks.json").read_text(encoding="utf-8"))
        done = [{**task, "id": n, "annotations": [annotation(choice("mel"))]} for n, task in enumerate(tasks)]
        Path(call[2]).write_text(json.dumps(done), encoding="utf-8")
    return [blank["image_id"][0] if word == "IMAGE" else word for word in call]


def after(call: list[str]) -> None:
    """Hold what a command wrote to what its page says it does; put the tiny config in the place of one of full size."""
    written = [Path(word) for option, word in pairwise(call) if option in ("--out", "--json")]
    assert all(path.exists() for path in written), written
    if call[0] == "init":
        assert build.load(written[0], [])
        written[0].write_text(dump_yaml(config_of("runs", "mine")), encoding="utf-8")


@pytest.mark.parametrize("page", HERE, ids=NAMES.get)
def test_what_a_page_shows_can_be_typed(page: Path, place: Path) -> None:
    for call in calls(page):
        if not any("s3://" in word for word in call):
            ready = before(call)
            hardcase(ready)
            after(ready)
    assert not list(place.rglob("*.tmp"))


def test_what_readme_shows_of_an_object_store_can_be_typed(place: Path, bucket: str) -> None:
    stored = [call for call in calls(ROOT / "README.md") if any("s3://" in word for word in call)]
    assert [call[0] for call in stored] == ["run", "report", "fetch"]
    for call in stored:
        if call[0] == "fetch":  # another machine: it has no run of that name
            shutil.rmtree("runs")
        hardcase([word.replace("s3://bucket", bucket) for word in call])
    assert (place / "runs" / "mine" / "report.html").is_file()


@pytest.mark.ray
@pytest.mark.heavy
def test_a_config_moves_to_ray_as_its_page_says(place: Path) -> None:
    """With another seed, so that Ray has something to compute."""
    run, doctor = calls(CLUSTER)
    hardcase([*run, "name=on_ray", "loop.seed=1"])
    done = [json.loads(line) for line in Path("runs/on_ray/stages.jsonl").read_text().splitlines()]
    assert {"classifier", "synthesize"} <= {entry["stage"] for entry in done if entry["ran"]}
    assert "ray" in hardcase(doctor)


@pytest.mark.heavy
def test_a_study_is_played_as_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine commands, seven runs; the config is the page's own but for sizes."""
    monkeypatch.chdir(tmp_path)
    (sealed, _) = (block for block in fenced(CLAIM, "yaml") if "name: study" in block)
    assert "train_sets: {count: 10, images: 500, use: [0]}" in sealed
    split = {
        "train": 0.5,
        "mine": 0.0,
        "val": 0.2,
        "test": 0.3,
        "train_sets": {"count": 7, "images": 14, "use": [0]},
    }
    config = tiny_config(
        "runs",
        name="study",
        data={"split": split, "phantom": {"lesions": 140, "views": 2, "imbalance": 0.0}},
        loop={
            "rounds": 1,
            "arms": ["real", "random", "hard"],
            "mine_from": "crossfit",
            "crossfit_folds": 2,
            "generator_saw": "own",
        },
    )
    Path("study.yaml").write_text(dump_yaml(config), encoding="utf-8")
    typed = calls(CLAIM)
    assert [call[0] for call in typed] == ["run", "run", "power", *["run"] * 5, "report"]
    power = typed.pop(2)  # shown before the study's own runs, for two of them that are done
    for call in [*typed[:4], power, *typed[4:]]:
        hardcase(call)
    assert (tmp_path / "study" / "study.html").is_file()


def test_every_line_of_every_page_is_typed_or_named() -> None:
    """A new page whose commands no test types fails in `calls`; what NOT_TYPED names must still stand somewhere."""
    everything = [line for page in PAGES for line in lines(page)]
    for beginning in NOT_TYPED:
        assert any(line.startswith(beginning) for line in everything), beginning
    for page in PAGES:
        calls(page)
