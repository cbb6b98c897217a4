"""A run folder with questions and a sheet of synthetic images, made without any training: phantoms as photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from engine import build
from engine.artifacts import accept, asked, decoded_images, split, synthetic
from engine.artifacts.asked import Asked, AskedFacts
from engine.artifacts.conditioning import Samples
from engine.artifacts.review import write_blank
from engine.artifacts.run_layout import arm_role
from engine.config import PhantomConfig
from engine.data.fingerprint import fingerprint
from engine.data.phantom.lesions import draw_lesions, render
from engine.execution.backend import LocalBackend
from engine.execution.progress import QuietListener
from engine.pipeline.foundation import lay_data
from engine.pipeline.pipeline import Pipeline
from engine.pipeline.publish import Publisher
from engine.store import RunFolder
from engine.store.attempt_folders import AttemptFolder
from engine.types import Verdicts, strings
from tests.integration.tiny import tiny_config

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def photographs(
    root: Path,
    labelled: int = 56,
    unlabelled: int = 12,
    side: int = 48,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write phantoms as JPEGs with a table; those without a label come last. ``names``: other names of classes."""
    root.mkdir(parents=True, exist_ok=True)
    config = PhantomConfig(lesions=labelled + unlabelled, views=1, imbalance=0.0)
    rows = []
    for number, lesion in enumerate(draw_lesions(config, seed=3)):
        pixels, _ = render(lesion, 0, side)
        name = f"shot_{number:03d}.jpg"
        Image.fromarray(pixels).save(root / name, quality=92, comment=b"secret comment")
        dx = (names or {}).get(lesion.dx, lesion.dx)
        label = dx if number < labelled else ""
        rows.append({"file": name, "label": label, "age": 30 + number, "sex": "female", "site": "back"})
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    return root


def make_run(
    output: Path, root: Path, *, questions: int = 8, samples: int = 0, name: str = "demo", **data: Any
) -> Path:
    """Decode and split photographs, then write questions (and a sheet of ``samples``) as a run's round would."""
    config = tiny_config(
        str(output),
        name=name,
        data={
            "format": "table", "root": str(root), "image_size": 16, "unlabelled": "keep",
            "columns": {"image": "file", "label": "label", "age": "age", "sex": "sex", "site": "site"},
            **data,
        },
    )  # fmt: skip
    folder = RunFolder.create(config)
    runner = build.make_runner(config, folder.cache_root, LocalBackend(), "cpu", QuietListener())
    pipeline = Pipeline(config, runner, folder, fingerprint(config.data, folder.cache_root))
    lay_data(pipeline)
    Publisher(folder).split(pipeline.stages["split"])
    table = split.read(folder.path)
    open_ = table.image_id[table.split == "unlabelled"][:questions].tolist()
    ask(folder.path, folder.layout.queries / "0001", open_)
    if samples:
        _sheet(folder, samples)
    return folder.path


def ask(run: Path, folder: Path, image_ids: Sequence[str], classes: Sequence[str] | None = None) -> None:
    """Write questions as `hardcase query` does, with train images for neighbours."""
    table = split.read(run)
    train = table.image_id[table.split == "train"]
    known = tuple(sorted(set(table.dx[table.dx != ""].tolist()))) if classes is None else tuple(classes)
    rng = np.random.default_rng(0)
    prob = rng.dirichlet(np.ones(len(known)) * 0.6, size=len(image_ids))
    folder.mkdir(parents=True, exist_ok=True)
    questions = Asked(
        image_id=strings(list(image_ids)),
        value_Q=np.linspace(1.0, 0.1, len(image_ids)),
        predicted=strings([known[row] for row in prob.argmax(axis=1)]),
        prob_QC=prob,
        neighbour_ids_QK=np.stack([rng.choice(train, 4, replace=False) for _ in image_ids]),
    )
    facts = AskedFacts(
        classes=known, policy="margin", wanted=len(image_ids), unlabelled=len(image_ids), open=len(image_ids),
        left_out={},
    )  # fmt: skip
    asked.write(questions, facts, folder)


def _sheet(run: RunFolder, samples: int) -> None:
    """Fill stages ``synthesize`` and ``accept`` of round 1, arm hard, and write the blank review.csv."""
    cache = build.make_runner(run.config, run.cache_root, LocalBackend(), "cpu", QuietListener()).cache
    table = split.read(run.path)
    train = np.flatnonzero(table.split == "train")[:samples]
    names = [f"r1_{n:03d}" for n in range(samples)]
    known = tuple(sorted(set(table.dx[table.dx != ""].tolist())))

    pixels = decoded_images.open_images(run.stage("foundation/images").path)

    def synthesize(out: Path, _: Path) -> None:
        for row, name in enumerate(names):
            path = out / synthetic.picture(name)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.asarray(pixels[row])).save(path)

    def judge(out: Path, _: Path) -> None:
        made = synthetic.SyntheticTable(
            samples=Samples(
                sample_id=strings(names), label_S=table.dx[train], parent_image_id=table.image_id[train],
                neighbour_ids_SK=np.stack([table.image_id[train[:2]]] * samples),
                weights_SK=np.full((samples, 2), 0.5), seed_S=np.arange(samples),
                difficulty_S=np.full(samples, 0.5),
            ),
            verdicts=Verdicts(
                accepted_S=np.zeros(samples, dtype=bool), reason_S=strings(["review"] * samples)
            ),
            judge_p_S=np.full(samples, 0.5), judge_predicted_S=table.dx[train],
            nearest_train_id_S=table.image_id[train], nearest_train_distance_S=np.full(samples, 0.2),
            policy="reviewed", checkpoint="c", judge_prob_SC=np.full((samples, len(known)), 1 / len(known)),
        )  # fmt: skip
        synthetic.write(made, out)
        accept.write(
            accept.AcceptFacts(
                agreement=None, expected_agreement=None, agreement_ratio=None, per_class={}, classes=known
            ),
            out,
        )

    def into_out(work: Callable[[Path, Path], None]) -> Callable[[AttemptFolder, int], None]:
        return lambda attempt, _halvings: work(attempt.out, attempt.checkpoint)

    for stage, work in (("synthesize", synthesize), ("accept", judge)):
        recipe = {
            "stage": stage, "version": 1, "params": {}, "seed": 0, "threads": 1, "device": "cpu",
            "precision": "float32", "inputs": {},
        }  # fmt: skip
        run.record(arm_role(1, "hard", stage), cache.fill(stage, "0" * 16, recipe, into_out(work)))
    write_blank(run.layout.review(1, "hard"), names)
