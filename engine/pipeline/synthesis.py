"""From conditioning to accepted images: sample, judge, measure, and show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.arms import ENGINE
from engine.artifacts import accept as accept_file
from engine.artifacts import conditioning
from engine.artifacts import split as split_file
from engine.artifacts.review import read_verdicts
from engine.history import Made
from engine.parts.candidates import Selecting
from engine.pipeline.pipeline import Pipeline
from engine.stages import accept as accept_stage
from engine.stages import fidelity as fidelity_stage
from engine.stages import preview as preview_stage
from engine.stages import synthesize as synthesize_stage
from engine.stages import thumbnails as thumbnails_stage
from engine.store import StageFolder
from policies import registry


def synthesize(
    pipeline: Pipeline, number: int, source: str, condition: StageFolder, opponent: StageFolder
) -> StageFolder:
    """Sample one image per row of the conditioning; adversarial guidance pushes against the classifier ``opponent``."""
    params = synthesize_stage.Params.of(pipeline.config, source)
    known = {**pipeline.stages, "classifier": opponent}
    inputs = {"condition": condition} | {name: known[name] for name in params.parts}
    return pipeline.arm(number, source, synthesize_stage.STAGE, params, inputs)


def accept(
    pipeline: Pipeline,
    number: int,
    source: str,
    made: Mapping[str, StageFolder],
    learner: Mapping[str, StageFolder],
    earlier: Sequence[StageFolder],
    verdicts: Mapping[str, str] | None,
) -> StageFolder:
    """Judge the images, and choose among candidates; those accepted ``earlier`` count against ``loop.max_synthetic_ratio``.

    ``made``: their stages ``condition`` and ``synthesize``. ``learner``: the ``classifier`` that ``hard`` had before the
    round, the same for every source, and the ``predictions`` that were mined.
    ``loop.max_synthetic`` binds arm ``hard`` alone: the pool cuts the other sources to hard's counts, class by class.
    ``verdicts``: a person's, where the policy asks for them.
    """
    params = accept_stage.Params.of(
        pipeline.config,
        _room(pipeline, earlier),
        most=_most(pipeline, earlier) if source == ENGINE else None,
        review=verdicts,
        selecting=Selecting.of(pipeline.config, number, source),
    )
    inputs = {**made, **pipeline.parts(("judge", "embedder", "index"))}
    inputs |= learner if params.selecting is not None else {}
    return pipeline.arm(number, source, accept_stage.STAGE, params, inputs)


def fidelity(
    pipeline: Pipeline, number: int, source: str, condition: StageFolder, images: StageFolder
) -> StageFolder:
    """Measure how far the images, before any gate, are from real ones."""
    known = pipeline.parts(("embedder", "judge", "features"))
    inputs = {**known, "condition": condition, "synthesize": images}
    params = fidelity_stage.Params.of(pipeline.config)
    return pipeline.arm(number, source, fidelity_stage.STAGE, params, inputs)


def thumbnails(pipeline: Pipeline, number: int, made: Made) -> StageFolder:
    """Draw small pictures of hard cases, neighbours and synthetic images for the report."""
    inputs = {k: v for k, v in made.folders.items() if k in thumbnails_stage.STAGE.inputs}
    params = thumbnails_stage.Params.of(pipeline.config)
    return pipeline.arm(number, ENGINE, thumbnails_stage.STAGE, params, inputs)


def preview(pipeline: Pipeline, made: Made) -> StageFolder:
    """Draw the contact sheet real | VAE reconstruction | synthetic."""
    inputs = {"condition": made.condition, "synthesize": made.synthesize}
    inputs |= {k: pipeline.stages[k] for k in ("images", "split", "vae") if k in pipeline.stages}
    params = preview_stage.Params.of(pipeline.config)
    return pipeline.keep("figures/contact_sheet", pipeline.runner(preview_stage.STAGE, params, inputs=inputs))


def verdicts_on(sheet: Path, condition: StageFolder) -> Mapping[str, str]:
    """Return a person's verdicts so far on the images of a conditioning (DataError as ``read_verdicts``)."""
    names = conditioning.read_column(condition.path, "sample_id").tolist()
    return read_verdicts(sheet, names)


def asks_for_review(pipeline: Pipeline) -> bool:
    """Return whether a person's verdicts decide about acceptance."""
    return registry.make("acceptance", pipeline.config.policy.acceptance).wants_review


def images_per_parent(accept: StageFolder) -> dict[str, list[int]]:
    """Return by class how many images were made of each parent, accepted or not, most first."""
    return accept_file.read(accept.path).per_parent


def _room(pipeline: Pipeline, earlier: Sequence[StageFolder]) -> dict[str, int]:
    """How many more images per class the gates may accept."""
    ratio = pipeline.config.loop.max_synthetic_ratio
    room = {dx: int(ratio * n) for dx, n in sorted(_own_counts(pipeline).items())}
    taken = accept_file.accepted_counts(folder.path for folder in earlier)
    return {dx: max(0, most - taken.get(dx, 0)) for dx, most in room.items()}


def _most(pipeline: Pipeline, earlier: Sequence[StageFolder]) -> int | None:
    """How many more images the gates may accept in all; None without ``loop.max_synthetic``."""
    most = pipeline.config.loop.max_synthetic
    taken = accept_file.accepted_counts(folder.path for folder in earlier)
    return None if most is None else max(0, most - sum(taken.values()))


def _own_counts(pipeline: Pipeline) -> dict[str, int]:
    """The classifier's own images per class."""
    split = pipeline.stages["split"].path
    counts = split_file.read_facts(split).counts["train"]
    sets = pipeline.config.data.split.train_sets
    if sets is not None:
        table = split_file.read(split)
        own_dx = table.dx[table.own(sets.use)]
        counts = {dx: int((own_dx == dx).sum()) for dx in counts}
    return counts
