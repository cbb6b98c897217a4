"""`hardcase query`: chooses the unlabelled images of a finished run that readers should look at next."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import pandas as pd
from rich.console import Console

from engine import build
from engine.artifacts import asked
from engine.artifacts.asked import Asked, AskedFacts
from engine.artifacts.csv_text import write_csv
from engine.artifacts.run_layout import RunLayout, foundation_role
from engine.artifacts.whole_files import write_text
from engine.commands.finished_run import Chosen, choose, local
from engine.commands.output_folder import new_folder
from engine.config import Config
from engine.errors import DataError
from engine.execution.progress import RichListener
from engine.labelling.answers import Answers
from engine.labelling.questions import asked_images
from engine.review.photographs import Photographs
from engine.review.pictures import LARGEST, Photo, Pictures, encode
from engine.stages import ask as ask_stage
from engine.store.files import copy_file
from policies import registry

IMAGES: Final = "images"
ANSWERS: Final = "answers.csv"
COLUMNS: Final = ("image_id", "dx", "reader", "comment")
LABEL_STUDIO: Final = "label_studio_tasks.json"
LABELLING: Final = "label_studio_config.xml"
FIFTYONE: Final = "labels.json"
NOTICE: Final = """Images without a diagnosis that a run of hardcase asks about, the most useful one first.
They are patient data: handle them as the data they come from. Metadata of the files (EXIF, GPS, names) stayed behind.

  answers.csv               fill in dx and reader, then: hardcase label RUN answers.csv
  label_studio_*            tasks and labelling interface for Label Studio; its JSON export goes into hardcase label
  images, labels.json       a FiftyOneImageClassificationDataset folder for FiftyOne (fiftyone.Dataset.from_dir)
"""


def query(
    run: Path,
    count: int,
    out: Path,
    console: Console,
    *,
    policy: str | None = None,
    round_number: int | None = None,
    arm: str | None = None,
) -> list[str]:
    """Choose ``count`` images, write them to the new folder ``out``, note them in the run, and return their ids.

    The champion asks, or what ``round_number`` and ``arm`` name. Nothing is asked that was asked or answered before.
    ``policy`` is the name of a query policy, or its mapping as in a config; None: the config's. The model's guess stands in
    ``RUN/queries/NNNN``, not in ``out``: readers should not see it first.

    Raises:
        DataError: no run folder or no such classifier, no unlabelled image is left, or ``out`` is not empty.
        ConfigError: the policy is unknown or wrong.
    """
    chosen = choose(run, round_number, arm)
    folder, config = chosen.run, local(chosen.run.config)
    spec = _spec(policy, config)
    settled = Answers(run=run).settled()
    params = ask_stage.Params.of(
        config,
        len(_numbers(folder.layout)) + 1,
        policy=spec,
        total=count,
        besides=sorted({*asked_images(run), *settled.answered}),
        answers=settled.labels,
    )
    with tempfile.TemporaryDirectory(prefix="hardcase-query-") as place, new_folder(out) as target:
        stage = _ask(chosen, config, params, Path(place), console)
        questions, facts = asked.read(stage), asked.read_facts(stage)
        if len(questions) == 0:
            raise DataError(
                f"{run}: none of its {facts.unlabelled} unlabelled images can be asked about: {_why(facts)}; "
                "rerun `hardcase run` to train with the answers there are"
            )
        _write_folder(chosen, questions, facts.classes, target)
        kept = _keep(folder.layout, stage)
    console.print(
        f"{len(questions)} of {facts.open} images to ask about, chosen by {spec['name']} with the classifier of "
        f"{chosen.marked}, in {out}",
        markup=False,
    )
    if facts.left_out:
        console.print(f"left out: {_why(facts)}", markup=False)
    again, label = shlex.quote(str(run)), shlex.join(["hardcase", "label", str(run), str(out / ANSWERS)])
    console.print(
        f"next     hardcase review {again}, or fill in {out / ANSWERS}: {label}", markup=False, soft_wrap=True
    )
    console.print(f"kept     {kept}", markup=False, style="dim")
    return [str(name) for name in questions.image_id]


def _spec(policy: str | None, config: Config) -> dict[str, Any]:
    """Return the query policy to use, checked (ConfigError: unknown, or a parameter is wrong)."""
    spec = config.policy.query if policy is None else {"name": policy}
    registry.make("query", spec)
    return spec


def _ask(chosen: Chosen, config: Config, params: ask_stage.Params, place: Path, console: Console) -> Path:
    """Run stage ``ask`` beside the cache; return its folder."""
    names = ["images", "split"]
    wanted = registry.make("query", params.policy).wanted
    names += ["judge"] if wanted is not None and wanted.kind == "committee" else []
    inputs = {name: chosen.run.stage(foundation_role(name)).path for name in names}
    inputs |= {"classifier": chosen.weights.parent, "predictions": chosen.folder}
    return build.run_stage_here(
        config,
        ask_stage.STAGE,
        params,
        out=place / ask_stage.STAGE.name,
        inputs=inputs,
        seed=config.loop.seed,
        progress=RichListener(console).progress,
    )


def _numbers(layout: RunLayout) -> list[int]:
    """Return the numbers of the queries that are kept, in order."""
    return sorted(int(path.name) for path in layout.queries.glob("*") if path.name.isdigit())


def _keep(layout: RunLayout, stage: Path) -> Path:
    """Copy the questions into the run, under the next number that nobody has taken."""
    number = max(_numbers(layout), default=-1) + 1
    while True:
        place = layout.queries / f"{number:04d}"
        try:
            place.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
    for name in (AskedFacts.FILE, asked.FILE):
        copy_file(stage / name, place / name)
    return place


def _why(facts: AskedFacts) -> str:
    return ", ".join(f"{count} {why}" for why, count in facts.left_out.items()) or "there are none"


def _write_folder(chosen: Chosen, questions: Asked, classes: Sequence[str], target: Path) -> None:
    """Fill ``out``: the images without metadata, the blank answers, and what Label Studio and FiftyOne read."""
    (target / IMAGES).mkdir()
    photographs = Photographs(chosen.run, Pictures())
    names = [str(name) for name in questions.image_id]
    files = {name: _save(photographs.photo(name), target / IMAGES, name) for name in names}
    blank = pd.DataFrame({"image_id": names, **dict.fromkeys(COLUMNS[1:], "")})
    write_csv(blank[list(COLUMNS)], target / ANSWERS)
    tasks = [
        {"id": number, "data": {"image": f"{IMAGES}/{files[name]}", "image_id": name}}
        for number, name in enumerate(names, 1)
    ]
    write_text(target / LABEL_STUDIO, json.dumps(tasks, indent=1) + "\n")
    write_text(target / LABELLING, labelling_interface([*classes, "unsure"]))
    labels = {
        "classes": list(classes),
        "labels": dict.fromkeys((Path(files[name]).stem for name in names), None),
    }
    write_text(target / FIFTYONE, json.dumps(labels, indent=1) + "\n")
    (target / "README.txt").write_text(NOTICE, encoding="utf-8")


def _save(photo: Photo, folder: Path, name: str) -> str:
    """Write one picture under its image's id and return the file's name."""
    found = encode(photo, LARGEST)
    file = f"{name}.{'jpg' if found.media_type == 'image/jpeg' else 'png'}"
    (folder / file).write_bytes(found.content)
    return file


def labelling_interface(choices: Sequence[str]) -> str:
    """Return Label Studio's labelling interface: the image large, one choice."""
    lines = "\n".join(f"    <Choice value={quoteattr(choice)}/>" for choice in choices)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <Choices name="dx" toName="image" choice="single" required="true">\n{lines}\n  </Choices>\n</View>\n'
    )
