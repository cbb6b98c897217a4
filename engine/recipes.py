"""What each stage is made of: the params it reads, the folders it starts from, its seed and its role in the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from engine.config import GENERATOR_PARTS, SOURCES, Config
from engine.store import RunFolder, StageFolder, StageRunner
from engine.store.files import read_json
from engine.store.review import read_verdicts
from engine.store.run_folder import arm_role, flat_config
from engine.types import DrawRequest
from policies import registry

ROUND_ONLY = frozenset({"steps", "lr", "round_steps", "round_lr", "round_init"})
"""Classifier keys that the loop turns into a stage's own ``steps`` and ``lr``."""


class Recipes:
    """Runs the stages of one config through the cache and records their roles in the run folder."""

    def __init__(self, config: Config, runner: StageRunner, folder: RunFolder, fingerprint: str) -> None:
        self.config = config
        self.runner = runner
        self.folder = folder
        self.fingerprint = fingerprint
        self.tree: dict[str, Any] = config.model_dump(mode="json")
        self.stages: dict[str, StageFolder] = {}

    @property
    def config_digest(self) -> str:
        """Hash of every key that decides what is computed."""
        text = json.dumps(flat_config(self.config), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def data(self) -> None:
        """Decode the images and split them.

        Which training sets are used decides about the split only where the generator parts may see no other.
        """
        self.images()
        section = {k: v for k, v in self.tree["data"]["split"].items() if v is not None}
        params: dict[str, Any] = {"split": section}
        sets = self.config.data.split.train_sets
        if sets is not None:
            section["train_sets"] = {k: v for k, v in section["train_sets"].items() if k != "use"}
        if sets is not None and self.config.loop.generator_saw == "own":
            params["only"] = sets.use
        self._foundation("split", params, ("images",))

    def images(self) -> None:
        """Decode the images alone."""
        data = {k: v for k, v in self.tree["data"].items() if k not in ("split", "malignant")}
        drawn = self.config.data.format == "phantom" or self.config.data.limit is not None
        params = {"data": data, "fingerprint": self.fingerprint, "seed": self.config.seed if drawn else 0}
        self._foundation("images", params, (), seeded=False)

    def foundation(self) -> None:
        """Embedder, index, VAE, latents, denoiser, judge: from train lesions only, shared by every arm and seed."""
        cut = {"crop": self.config.data.crop, "mask": self.config.data.mask}
        embedder, vae, denoiser = (self.tree[k] for k in ("embedder", "vae", "denoiser"))
        base = ("images", "split")
        self._foundation("embedder", {"embedder": embedder, "data": cut}, base)
        self._foundation("index", {"embedder": embedder, "data": cut}, (*base, "embedder"))
        if self.config.synthesis.generator == "diffusion":
            self._foundation("vae", {"vae": vae}, base)
            self._foundation("latents", {"vae": vae}, (*base, "vae"))
            self._foundation(
                "denoiser",
                {"denoiser": denoiser, "embedder": embedder},
                (*base, "embedder", "index", "latents"),
            )
        if self.config.synthesis.generator == "dcgan" or "dcgan" in self.config.loop.arms:
            self._foundation("gan", {"gan": self.tree["gan"]}, base)
        self._foundation("judge", {"judge": self.tree["judge"]}, base)
        self._foundation("features", self._feature_params(), (*base, "embedder", "judge"))
        self._foundation("challenging", {}, (*base, "judge"))

    def pool(
        self,
        number: int,
        arm: str,
        sources: Mapping[int, Mapping[str, StageFolder]],
        counts: Mapping[str, int],
    ) -> StageFolder:
        """Lay out what one arm trains on; ``sources`` holds the synthesis stages of each round so far."""
        made = ("accept", "synthesize")
        roles = {"mined": ("mine",), "retrieved": ("condition",), "synthetic": made}
        roles |= dict.fromkeys(SOURCES, made)
        inputs = {
            f"{role}_{n}": stages[role]
            for n, stages in sorted(sources.items())
            for role in roles.get(arm, ())
        }
        params = {
            "arm": arm,
            "counts": dict(sorted(counts.items())) if arm not in ("real", "all_real") else {},
            **self._own,
        }
        return self._arm(number, arm, "pool", params, inputs)

    def classifier(
        self, number: int, arm: str, pool: StageFolder, steps: int, init: StageFolder | None
    ) -> StageFolder:
        """Train one arm; the seed depends on the round alone, so arms are paired."""
        section = self.config.classifier
        later = section.round_lr if section.round_lr is not None else section.lr / 3
        params = {
            "classifier": self._classifier_section(ROUND_ONLY),
            "plain": arm == "real",
            "steps": steps,
            "lr": section.lr if init is None else later,
        }
        inputs = {"pool": pool} | ({"init": init} if init is not None else {})
        return self._arm(number, arm, "classifier", params, inputs, seed=self._round_seed(number))

    def _classifier_section(self, but: frozenset[str]) -> dict[str, Any]:
        """The section as a stage reads it, without the keys ``but``, and without a ``mix`` that is not asked for."""
        section: dict[str, Any] = self.tree["classifier"]
        return {k: v for k, v in section.items() if k not in but and (k, v) != ("mix", None)}

    def predict(self, number: int, arm: str, classifier: StageFolder) -> StageFolder:
        """Calibrated predictions on every split."""
        section = self.tree["evaluation"]
        params = {
            "evaluation": {k: section[k] for k in ("specificity", "melanoma", "melanoma_sensitivity")},
            "malignant": self.config.data.malignant,
        }
        return self._arm(number, arm, "predict", params, {"classifier": classifier})

    def evaluate(
        self, number: int, arm: str, predict: StageFolder, reference: StageFolder | None
    ) -> StageFolder:
        """Figures on val and test, with intervals; ``reference`` is round 0's predictions."""
        section = self.tree["evaluation"]
        params = {
            "evaluation": {k: section[k] for k in ("bootstrap", "specificity")},
            "malignant": self.config.data.malignant,
        }
        inputs = {"predictions": predict, "challenging": self.stages["challenging"]}
        inputs |= {"reference": reference} if reference is not None else {}
        return self._arm(number, arm, "evaluate", params, inputs, seed=self.config.loop.seed)

    def mine(
        self,
        number: int,
        predict: StageFolder,
        history: Sequence[StageFolder],
        classifier: StageFolder,
        sources: Mapping[int, Mapping[str, StageFolder]],
    ) -> StageFolder:
        """Seek hard cases in the predictions of the round before (or out of fold over train).

        ``classifier`` made the predictions; policies that ask for draws need it, and a committee the judge too.
        ``sources`` holds the hard arm's synthesis of the rounds so far, which out-of-fold fits train on as well.
        """
        loop = self.config.loop
        if loop.mine_from == "crossfit":
            fold_params = {
                "classifier": self._classifier_section(ROUND_ONLY - {"steps", "lr"}),
                "folds": loop.crossfit_folds,
                **self._own,
            }
            made = {
                f"{role}_{n}": stages[role]
                for n, stages in sorted(sources.items())
                for role in ("accept", "synthesize")
            }
            predict = self._arm(number, "hard", "crossfit", fold_params, made, seed=self._round_seed(0))
            history = ()
        params = {
            "policy": self.tree["policy"]["mining"],
            "mine_from": loop.mine_from,
            "round": number,
            "malignant": self.config.data.malignant,
            **self._own,
        }
        inputs = {"predictions": predict} | {f"history_{n}": folder for n, folder in enumerate(history)}
        wanted: DrawRequest | None = getattr(registry.make("mining", params["policy"]), "wanted", None)
        if wanted is not None:
            inputs["classifier"] = classifier
        if wanted is not None and wanted.kind == "committee":
            inputs["judge"] = self.stages["judge"]
        return self._arm(number, "hard", "mine", params, inputs, seed=self._round_seed(number))

    def condition(
        self,
        number: int,
        source: str,
        mined: StageFolder,
        *,
        seen: Sequence[Mapping[str, float | None]] = (),
        counts: Mapping[str, int] | None = None,
    ) -> dict[str, StageFolder]:
        """Retrieve neighbours, spend the budget and mix; other sources than hard draw parents to ``counts`` instead.

        ``seen`` holds the hard arm's val sensitivity a class after each round so far, for the budget policy.
        """
        loop = self.config.loop
        params = {
            "embedder": self.tree["embedder"],
            "data": {"crop": self.config.data.crop, "mask": self.config.data.mask},
            "budget": self.tree["policy"]["budget"],
            "mixing": self.tree["policy"]["mixing"],
            "total": loop.budget,
            "neighbours": loop.neighbours,
            "mine_from": loop.mine_from,
            "round": number,
            "source": "hard" if source == "hard" else "random",
            "counts": dict(counts or {}),
            "sensitivity": dict(seen[-1]) if seen else {},
            "gain_history": [gains(before, after) for before, after in pairwise(seen)],
            **self._own,
        }
        inputs = {"hard_cases": mined, "embedder": self.stages["embedder"], "index": self.stages["index"]}
        return {
            "condition": self._arm(number, source, "condition", params, inputs, seed=self._round_seed(number))
        }

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

    def _feature_params(self, **more: Any) -> dict[str, Any]:
        section = self.tree["evaluation"]
        return {
            "evaluation": {"features": section["features"], "inception": section["inception"], **more},
            "embedder": self.tree["embedder"],
        }

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

    @property
    def _own(self) -> dict[str, list[int]]:
        """The param by which a stage knows the classifier's own images; empty where it trains on all of train."""
        sets = self.config.data.split.train_sets
        return {} if sets is None else {"train_sets": sets.use}

    def _round_seed(self, number: int) -> int:
        return self.config.loop.seed * 1000 + number

    def _foundation(
        self, name: str, params: Mapping[str, Any], inputs: tuple[str, ...], *, seeded: bool = True
    ) -> None:
        folder = self.runner(
            name,
            params=params,
            inputs={role: self.stages[role] for role in inputs},
            seed=self.config.seed if seeded else 0,
        )
        self.stages[name] = self.folder.record(f"foundation/{name}", folder)

    def _arm(
        self,
        number: int,
        arm: str,
        stage: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, StageFolder],
        *,
        seed: int | None = None,
    ) -> StageFolder:
        base = {k: self.stages[k] for k in ("images", "split")}
        folder = self.runner(
            stage,
            params=params,
            inputs={**base, **inputs},
            seed=self.config.loop.seed if seed is None else seed,
        )
        return self.folder.record(arm_role(number, arm, stage), folder)


def accepted_counts(accepts: Iterable[StageFolder]) -> dict[str, int]:
    """Return how many images a class the gates accepted in finished ``accept`` stages."""
    counts: dict[str, int] = {}
    for folder in accepts:
        for dx, figures in read_json(folder.path / "accept.json")["per_class"].items():
            counts[dx] = counts.get(dx, 0) + int(figures["accepted"])
    return counts


def gains(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float]:
    """Return the change a class from one round to the next, where both know it."""
    known = [(dx, value, after.get(dx)) for dx, value in before.items()]
    return {dx: new - old for dx, old, new in known if old is not None and new is not None}
