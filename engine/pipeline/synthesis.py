"""The recipes of a round's images: sample, judge, measure, and show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from engine.config import GENERATOR_PARTS
from engine.config.synthesis_section import LARGEST_VAE_CHUNK
from engine.pipeline.book import RecipeBook
from engine.pipeline.review import read_verdicts
from engine.store import StageFolder
from engine.store.files import read_json
from policies import registry


class SynthesisRecipes(RecipeBook):
    """From conditioning to accepted images."""

    def synthesize(
        self,
        number: int,
        source: str,
        made: Mapping[str, StageFolder],
        earlier: Sequence[StageFolder],
        opponent: StageFolder,
    ) -> dict[str, StageFolder]:
        """Sample images and judge them; ``earlier`` accepted images count against ``max_synthetic_ratio``.

        Adversarial guidance pushes against ``opponent``, the classifier whose errors were mined. Images of random
        parents (``source: random``) are made without it: it is a way of seeking hard cases. ``source: dcgan`` samples the
        GAN. The gates are the same for all: where guidance spends a fold of the judge, no source is judged by it.
        """
        generator = "dcgan" if source == "dcgan" else self.config.synthesis.generator
        used = (*GENERATOR_PARTS[generator], *(("embedder",) if generator == "diffusion" else ()))
        parts = {k: self.stages[k] for k in used}
        params = {k: self.tree[k] for k in ("synthesis", "denoiser", "embedder", "vae")}
        steers = generator == "diffusion" and self.config.synthesis.steers
        adversarial = steers and self.config.synthesis.adversarial_scale > 0 and source == "hard"
        guided = adversarial or (steers and self.config.synthesis.classifier_scale > 0)
        params["synthesis"] = {**params["synthesis"], "generator": generator}
        if not adversarial:
            params["synthesis"]["adversarial_scale"] = 0.0
        chunk = self.config.synthesis.vae_chunk
        if generator == "diffusion" and self.config.vae.kind == "kl" and chunk < LARGEST_VAE_CHUNK:
            params["vae_chunk"] = (
                chunk  # such batches were once decoded in chunks of 32: their images are not these
            )
        parts |= {"judge": self.stages["judge"]} if guided else {}
        parts |= {"classifier": opponent} if adversarial else {}
        images = self._arm(number, source, "synthesize", params, {"condition": made["condition"], **parts})
        gate = {
            "policy": self.tree["policy"]["acceptance"],
            "embedder": self.tree["embedder"],
            "data": {"crop": self.config.data.crop, "mask": self.config.data.mask},
            "judge": self.tree["judge"],
            "room": self._room(earlier),
            **(self._most(earlier) if source == "hard" else {}),
            "guided": self.config.synthesis.generator == "diffusion" and self.config.synthesis.steers,
        }
        if self.reviews:
            names = pd.read_parquet(made["condition"].path / "conditioning.parquet")["sample_id"].tolist()
            gate["review"] = dict(sorted(read_verdicts(self.review_file(number, source), names).items()))
        inputs = {"synthesize": images, "condition": made["condition"]} | {
            k: self.stages[k] for k in ("judge", "embedder", "index")
        }
        accept = self._arm(number, source, "accept", gate, inputs)
        seen = {k: self.stages[k] for k in ("embedder", "judge", "features")}
        params = self._feature_params(bootstrap=self.config.evaluation.bootstrap)
        inputs = {**seen, "condition": made["condition"], "synthesize": images}
        fidelity = self._arm(number, source, "fidelity", params, inputs)
        return {**made, "synthesize": images, "accept": accept, "fidelity": fidelity}

    @property
    def reviews(self) -> bool:
        """Whether a person's verdicts decide about acceptance."""
        policy = registry.make("acceptance", self.tree["policy"]["acceptance"])
        return bool(getattr(policy, "wants_review", False))

    def review_file(self, number: int, source: str) -> Path:
        """Where the verdicts on a round's images lie: RUN/rounds/NNNN/review.csv, the random arm's in its own folder."""
        return self.folder.arm_folder(number, source) / "review.csv"

    def thumbnails(self, number: int, made: Mapping[str, StageFolder]) -> StageFolder:
        """Small pictures of hard cases, neighbours and synthetic images for the report."""
        inputs = {k: made[k] for k in ("mine", "condition", "synthesize", "accept")}
        return self._arm(number, "hard", "thumbnails", {"most": 40}, inputs)

    def preview(self, made: Mapping[str, StageFolder]) -> StageFolder:
        """The contact sheet real | VAE reconstruction | synthetic."""
        inputs = {"condition": made["condition"], "synthesize": made["synthesize"]}
        inputs |= {k: self.stages[k] for k in ("images", "split", "vae") if k in self.stages}
        folder = self.runner("preview", params={"vae": self.tree["vae"]}, inputs=inputs)
        return self.folder.record("figures/contact_sheet", folder)

    def _room(self, earlier: Sequence[StageFolder]) -> dict[str, int]:
        """How many more images of a class the gates may accept."""
        room = {
            dx: int(self.config.loop.max_synthetic_ratio * n) for dx, n in sorted(self._own_counts().items())
        }
        taken = accepted_counts(earlier)
        return {dx: max(0, most - taken.get(dx, 0)) for dx, most in room.items()}

    def _most(self, earlier: Sequence[StageFolder]) -> dict[str, int]:
        """How many more images the gates may accept in all; empty without ``loop.max_synthetic``.

        It binds arm hard; the other sources' accepted images are cut to hard's counts, class by class, in the pool.
        """
        if self.config.loop.max_synthetic is None:
            return {}
        taken = sum(accepted_counts(earlier).values())
        return {"most": max(0, self.config.loop.max_synthetic - taken)}

    def _own_counts(self) -> dict[str, int]:
        """The classifier's own images a class."""
        split = self.stages["split"].path
        counts: dict[str, int] = read_json(split / "split.json")["counts"]["train"]
        if self._own:
            frame = pd.read_parquet(split / "split.parquet")
            own = frame["dx"][frame["train_set"].isin(self._own["train_sets"])].value_counts()
            counts = {dx: int(own.get(dx, 0)) for dx in counts}
        return counts


def accepted_counts(accepts: Iterable[StageFolder]) -> dict[str, int]:
    """Return how many images a class the gates accepted in finished ``accept`` stages."""
    counts: dict[str, int] = {}
    for folder in accepts:
        for dx, figures in read_json(folder.path / "accept.json")["per_class"].items():
            counts[dx] = counts.get(dx, 0) + int(figures["accepted"])
    return counts
