"""The query policy for a cold start: typical images of parts without labels, then uncertain ones.

Legend: N unlabelled candidates, M labelled images, J clusters, F features.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import IntArray, Query, QueryState
from policies.base import STRICT
from policies.query.asking import Ask
from policies.query.clusters import Clusters, cluster, typicality
from policies.query.open_questions import OpenQuestions, as_given, by_image_id
from policies.query.uncertainty import nearness
from policies.registry import register


@register("query", "typical_then_uncertain")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class TypicalThenUncertain(Ask):
    """Typical images while labels are few, as in TypiClust (Hacohen et al. 2022), then those of ``margin``.

    A classifier of few labels does not know where it is wrong. Labelled images and candidates are cut into as many clusters
    as there are labels and questions, those of earlier rounds too, on features scaled to length 1. The next question comes
    from the cluster with the fewest labels and questions, the largest of those, and is its most typical image: value is the
    inverse mean distance to the nearest candidates of the cluster in other groups. Clusters of five images or fewer come
    last. When to switch is ours; after the switch value is that of ``margin``.
    """

    labels_per_class: float = Field(
        20.0, ge=0.0, description="labelled images per class, on average, from which on margin decides"
    )
    neighbours: int = Field(20, ge=1, le=1000, description="nearest images that say how typical one is")
    clusters: int = Field(500, ge=1, le=10_000, description="most clusters")

    def query(self, state: QueryState, rng: np.random.Generator) -> Query:
        """Ask about the typical image of each cluster in turn, or by rising gap of the two most probable classes."""
        state, order = by_image_id(state)
        questions = OpenQuestions(state, self.balanced)
        if len(state.labelled_label_M) >= self.labels_per_class * len(state.classes):
            return as_given(self.choose(state, nearness(state.prob_NC), questions, rng), order)
        most = min(self.clusters, len(state.covered_KF) + questions.places)
        found = cluster(state.feature_NF, state.covered_KF, most, rng)
        value_N = typicality(state.feature_NF, found.cluster_N, questions.group_N, self.neighbours, rng)
        score_N = self.perturbed(state, value_N, questions, rng)
        covered_J = found.labelled_J.copy()
        while questions.left:
            rows = of_next_cluster(questions.rows(), found, covered_J)
            row = int(rows[np.argmax(score_N[rows])])
            covered_J[found.cluster_N[row]] += 1
            questions.take(row)
        return as_given(Query(chosen=np.array(questions.chosen, dtype=np.int64), value_N=value_N), order)


def of_next_cluster(rows: IntArray, found: Clusters, covered_J: IntArray) -> IntArray:
    """Return those of the rows that lie in the cluster to ask about next.

    Not a small one, then the one with the fewest labels and questions, then the largest.
    """
    present = np.unique(found.cluster_N[rows])
    small, size = found.small_J[present], found.size_J[present]
    first = present[np.lexsort((present, -size, covered_J[present], small))[0]]
    return np.asarray(rows[found.cluster_N[rows] == first])
