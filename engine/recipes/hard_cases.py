"""The recipes from predictions to conditioning: mine hard cases, retrieve neighbours, spend the budget, mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from engine.recipes.book import ROUND_ONLY, RecipeBook
from engine.store import StageFolder
from engine.store.run_folder import arm_role
from policies import registry


class HardCaseRecipes(RecipeBook):
    """What a round's images are made of."""

    def mine(
        self,
        number: int,
        predict: StageFolder,
        history: Sequence[StageFolder],
        classifier: StageFolder,
        sources: Mapping[int, Mapping[str, StageFolder]],
    ) -> StageFolder:
        """Seek hard cases in the predictions of the round before, or out of fold over train; policies see earlier ones too.

        ``classifier`` made the predictions; policies that ask for draws need it, and a committee the judge too.
        ``sources`` holds the hard arm's synthesis of the rounds so far, which out-of-fold fits train on as well.
        """
        loop = self.config.loop
        if loop.mine_from == "crossfit":
            made = {
                f"{role}_{n}": stages[role]
                for n, stages in sorted(sources.items())
                for role in ("accept", "synthesize")
            }
            fold_params = {
                "classifier": self._classifier_section(ROUND_ONLY - {"steps", "lr"}, adds=bool(made)),
                "folds": loop.crossfit_folds,
                **self._own,
            }
            predict = self._arm(number, "hard", "crossfit", fold_params, made, seed=self._round_seed(0))
            history = [self.folder.stage(arm_role(n, "hard", "crossfit")) for n in range(1, number)]
        params = {
            "policy": self.tree["policy"]["mining"],
            "mine_from": loop.mine_from,
            "round": number,
            "malignant": self.config.data.malignant,
            **self._own,
        }
        inputs = {"predictions": predict} | {f"history_{n}": folder for n, folder in enumerate(history)}
        wanted = registry.make("mining", self.config.policy.mining).wanted
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


def gains(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> dict[str, float]:
    """Return the change a class from one round to the next, where both know it."""
    known = [(dx, value, after.get(dx)) for dx, value in before.items()]
    return {dx: new - old for dx, old, new in known if old is not None and new is not None}
