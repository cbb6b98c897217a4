"""The recipes of an arm in a round: its pool, its classifier, predictions and figures."""

from __future__ import annotations

from collections.abc import Mapping

from engine.config import SOURCES
from engine.pipeline.book import ROUND_ONLY, RecipeBook
from engine.store import StageFolder


class ArmRecipes(RecipeBook):
    """What every arm goes through, each with its own pool."""

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
        self, number: int, arm: str, pool: StageFolder, steps: int, init: StageFolder | None, fit: int
    ) -> StageFolder:
        """Train one arm; the seed depends on ``fit``, the round this training stands for, alone, so arms are paired."""
        section = self.config.classifier
        later = section.round_lr if section.round_lr is not None else section.lr / 3
        params = {
            "classifier": self._classifier_section(ROUND_ONLY, adds=arm != "real"),
            "plain": arm == "real",
            "steps": steps,
            "lr": section.lr if init is None else later,
        }
        inputs = {"pool": pool} | ({"init": init} if init is not None else {})
        return self._arm(number, arm, "classifier", params, inputs, seed=self._round_seed(fit))

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
