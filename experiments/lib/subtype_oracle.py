"""Does a blind spot close with more examples? Real images alone, the subtype as rare as planted and times as frequent.

The frequent one has the same lesions and the same test lesions of the subtype: a larger share keeps those of a smaller one.
What it has more of, it has less of the class's usual form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from engine import build
from engine.arms import START
from engine.artifacts import predictions
from engine.artifacts import split as split_file
from engine.config import BlindSpotConfig, Config
from engine.execution.progress import RichListener
from engine.history import Fit
from engine.pipeline import Pipeline, arms
from engine.pipeline.foundation import lay_data
from engine.study.run_replicates import replicate_of
from experiments.lib.controls import gain
from experiments.lib.subtype_figures import FIGURES, figures_of, hidden_lesions


def compare(config: Config, spot: BlindSpotConfig, seeds: Sequence[int], times: float) -> dict[str, Any]:
    """Return {rare, frequent, gain}: FIGURES by seed on the same lesions of the subtype, and their differences.

    Args:
        config: of a run; its classifier is trained for ``classifier.steps`` as in round 0.
        spot: its blind spot.
        seeds: of phantoms, split and classifier.
        times: how much more frequent the subtype gets, up to all of its class.
    """
    more = spot.model_copy(update={"share": min(1.0, times * spot.share)})
    found: dict[str, Any] = {
        name: [plain(config, one, spot, seed) for seed in seeds]
        for name, one in (("rare", spot), ("frequent", more))
    }
    if len(seeds) > 1:
        found["gain"] = {name: gain(found["frequent"], found["rare"], name) for name in FIGURES}
    return {"times": times, "oracle_seeds": list(seeds), **found}


def plain(
    config: Config, planted: BlindSpotConfig, asked: BlindSpotConfig, seed: int
) -> dict[str, float | None]:
    """Train on phantoms with ``planted`` and return FIGURES on the lesions that ``asked`` names."""
    phantom = config.data.phantom.model_copy(update={"blind_spot": planted})
    config = config.model_copy(
        update={
            "name": f"{config.name}-oracle-{planted.share:g}-{seed}",
            "seed": seed,
            "data": config.data.model_copy(update={"phantom": phantom}),
            "loop": config.loop.model_copy(update={"seed": seed, "seeds": None}),
        }
    )
    wiring = build.wire(config, listener=RichListener(Console()), track=False)
    try:
        pipeline = wiring.loop(page=False).pipeline
        return _trained(pipeline, asked)
    finally:
        wiring.close()


def _trained(pipeline: Pipeline, asked: BlindSpotConfig) -> dict[str, float | None]:
    config = pipeline.config
    lay_data(pipeline)
    task = Fit(
        round=0,
        arm=START,
        pool=arms.pool(pipeline, 0, START, {}, {}),
        steps=config.classifier.steps,
        fits=[0],
    )
    predict = arms.predict(pipeline, 0, START, arms.fit(pipeline, task, 0, None))
    found = predictions.read(predict.path)
    run = replicate_of(
        {START: found},
        split_file.read(pipeline.stages["split"].path),
        config.model_dump(mode="json"),
        name=config.name,
        protocol="safe",
    )
    return figures_of(run, hidden_lesions(found.image_id, config, asked))[START]
