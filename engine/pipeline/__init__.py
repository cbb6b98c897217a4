"""What each stage is made of: the params it reads, the folders it starts from, its seed and its role in the run."""

from engine.pipeline.arms import ArmRecipes
from engine.pipeline.foundation import FoundationRecipes
from engine.pipeline.hard_cases import HardCaseRecipes
from engine.pipeline.synthesis import SynthesisRecipes, accepted_counts

__all__ = ["Recipes", "accepted_counts"]


class Recipes(FoundationRecipes, HardCaseRecipes, SynthesisRecipes, ArmRecipes):
    """Every recipe of a run, over one book of finished stages."""
