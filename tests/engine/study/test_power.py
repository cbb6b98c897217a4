"""Components of chance and the size of a study: by hand, against statsmodels, and against simulated decisions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from engine.study.components import Cells, Components, components_of
from engine.study.power import MOST, Noise, Plan, detectable, noise_of, power, sets_needed

NO_LESIONS = {"lesions": 0.0, "lesions_of_seeds": 0.0, "lesions_of_sets": 0.0}


def cells(value: list[float], sets: list[int], drawn: np.ndarray | None = None, shared: bool = True) -> Cells:
    still = np.zeros((len(value), 2)) if drawn is None else drawn
    place = np.array(sets)
    return Cells(value_K=np.array(value), drawn_KB=still, set_K=place, replicate_K=place, shared=shared)


def test_variances_by_hand() -> None:
    """Two seeds per set differ by 0.02: 0.02^2 / 2. Pairs across sets leave the mean of (d_i - d_j)^2 / 2."""
    found = components_of(cells([0.01, 0.03, 0.05, 0.07], [0, 0, 1, 1]))
    assert found.seeds == pytest.approx(0.0002)
    across = (0.04**2 + 0.06**2 + 0.02**2 + 0.04**2) / 8
    assert found.training_sets == pytest.approx(across - 0.0002)
    assert found.difference == pytest.approx(0.04)
    assert (found.lesions, found.lesions_of_sets) == (0.0, 0.0)


def test_balanced_cells_give_the_estimate_of_restricted_maximum_likelihood() -> None:
    """In a balanced layout moments and REML agree where no variance comes out below 0 (Searle et al. 1992)."""
    rng = np.random.default_rng(1)
    sets = np.repeat(np.arange(12), 3)
    value = (rng.normal(0, 0.05, 12)[sets] + rng.normal(0, 0.02, 36)).tolist()
    found = components_of(cells(value, sets.tolist()))
    fitted = MixedLM(np.array(value) * 100, np.ones((36, 1)), groups=sets).fit(reml=True)
    assert found.training_sets == pytest.approx(float(fitted.cov_re[0, 0]) / 1e4, rel=1e-3)
    assert found.seeds == pytest.approx(float(fitted.scale) / 1e4, rel=1e-3)


def test_what_lesions_do_is_taken_from_what_cells_differ_by() -> None:
    """Lesions that move both sets by the same amount explain none of their difference; those of folds are all their own."""
    drawn = np.tile([-0.01, 0.01], (2, 1))  # variance 0.0002 each, and as large a covariance
    together = components_of(cells([0.0, 0.04], [0, 1], drawn))
    assert together.training_sets == pytest.approx(0.04**2 / 2)
    assert together.lesions_of_sets == pytest.approx(together.lesions) == pytest.approx(0.0002)
    apart = components_of(cells([0.0, 0.04], [0, 1], drawn, shared=False))
    assert apart.training_sets == pytest.approx(0.04**2 / 2 - 0.0002)
    against = components_of(cells([0.0, 0.01], [0, 1], drawn * [[1], [-1]]))
    assert against.training_sets == 0.0, "below 0, so 0"


def test_one_seed_is_not_told_from_its_training_set() -> None:
    found = components_of(cells([0.01, 0.05, 0.03], [0, 1, 2]))
    assert found.seeds is None and found.training_sets == pytest.approx(np.var([0.01, 0.05, 0.03], ddof=1))
    with pytest.raises(ValueError, match="two training sets"):
        components_of(cells([0.01, 0.05], [0, 0]))


def test_the_order_of_cells_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    value, drawn, order = rng.normal(size=12), rng.normal(size=(12, 50)), rng.permutation(12)
    sets = np.repeat(np.arange(4), 3)
    forth = components_of(cells(value.tolist(), sets.tolist(), drawn))
    back = components_of(cells(value[order].tolist(), sets[order].tolist(), drawn[order]))
    assert back.to_json() == pytest.approx(forth.to_json())


def test_noise_of_a_plan_by_hand() -> None:
    components = Components(
        difference=0.0,
        training_sets=0.04,
        seeds=0.02,
        lesions=0.1,
        lesions_of_seeds=0.06,
        lesions_of_sets=0.03,
    )
    found = noise_of(components, 100, Plan(replicates=8, seeds=2, lesions=200))
    # half of ((0.1 + 0.06) / 2 - 0.03) is a replicate's own, half of 0.03 is common to all
    assert found.own == pytest.approx(0.025) and found.common == pytest.approx(0.015)
    assert found.between == pytest.approx(0.04 + 0.02 / 2 + 0.025)
    folds = noise_of(components, 100, Plan(replicates=5, sets=2, seeds=2, lesions=100, shared=False))
    own = (0.1 + 0.06 + 2 * 0.03) / 4
    assert (folds.common, folds.own) == (0.0, pytest.approx(own))
    assert folds.between == pytest.approx(0.04 / 2 + 0.02 / 4 + own)


def test_without_lesions_it_is_the_power_of_a_t_test() -> None:
    """Folds of training noise alone: the t interval decides, whose power is the noncentral t distribution's."""
    plan = Plan(replicates=8, lesions=100, shared=False)
    noise = Noise(between=0.03**2, own=0.0, common=0.0)
    effect = 0.035
    critical = stats.t.ppf(0.975, 7)
    expected = stats.nct.sf(critical, 7, effect / (0.03 / np.sqrt(8)))
    assert power(effect, noise, plan, 0.95) == pytest.approx(expected, abs=2e-3)
    found = detectable(noise, plan, 0.95)
    assert found is not None and power(found, noise, plan, 0.95) == pytest.approx(0.8, abs=1e-6)
    assert stats.nct.sf(critical, 7, found / (0.03 / np.sqrt(8))) == pytest.approx(0.8, abs=3e-3)


def test_lesions_alone_decide_as_a_normal_test() -> None:
    plan = Plan(replicates=400, lesions=100)
    noise = Noise(between=0.0, own=0.0, common=0.02**2)
    expected = stats.norm.cdf(0.05 / 0.02 - stats.norm.ppf(0.975))
    assert power(0.05, noise, plan, 0.95) == pytest.approx(expected, rel=1e-9)


def test_overlapping_folds_need_a_larger_effect() -> None:
    plan = Plan(replicates=5, lesions=100, shared=False)
    noise = Noise(between=0.02**2, own=0.0, common=0.0)
    wide, plain = (
        detectable(noise, replace(plan, in_common=0.3, cap=0.2), 0.95),
        detectable(noise, plan, 0.95),
    )
    assert wide is not None and plain is not None
    assert wide / plain == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 / 5)), rel=1e-6)


def test_no_noise_shows_everything() -> None:
    noise = Noise(between=0.0, own=0.0, common=0.0)
    plan = Plan(replicates=5, lesions=10)
    assert power(0.001, noise, plan, 0.95) == 1.0 and detectable(noise, plan, 0.95) == 0.0


def test_training_sets_needed() -> None:
    components = Components(difference=0.0, training_sets=0.03**2, seeds=0.0, **NO_LESIONS)
    plan = Plan(replicates=5, lesions=100)
    needed = sets_needed(0.02, components, 100, plan, 0.95)
    assert needed is not None
    for count, enough in ((needed - 1, False), (needed, True)):
        one = plan.with_sets(count)
        assert (power(0.02, noise_of(components, 100, one), one, 0.95) >= 0.8) == enough
    assert sets_needed(1.0, components, 100, plan, 0.95) == 5, "the fewest for a claim"
    stuck = replace(components, lesions=0.02**2, lesions_of_seeds=0.02**2, lesions_of_sets=0.02**2)
    assert sets_needed(0.02, stuck, 100, plan, 0.95) is None, f"{MOST} training sets see the same lesions"
    assert sets_needed(0.02, stuck, 100, replace(plan, lesions=10_000), 0.95) is not None


def test_more_folds_are_no_plan_but_more_sets_in_each() -> None:
    components = Components(difference=0.0, training_sets=0.03**2, seeds=0.0, **NO_LESIONS)
    plan = Plan(replicates=5, lesions=100, shared=False)
    needed = sets_needed(0.02, components, 100, plan, 0.95)
    assert needed is not None and needed % 5 == 0 and needed > 5


@pytest.mark.parametrize("shared", [True, False], ids=["training sets", "folds"])
def test_a_study_that_may_claim_nothing_has_no_power(shared: bool) -> None:
    """Four replicates claim nothing, however large the effect and however little is left to chance."""
    quiet = Noise(between=1e-12, own=0.0, common=0.0)
    four, five = (
        Plan(replicates=count, sets=1 if shared else 3, lesions=100, shared=shared) for count in (4, 5)
    )
    assert power(1.0, quiet, four, 0.95) == 0.0 and power(1.0, quiet, five, 0.95) == pytest.approx(1.0)
    assert detectable(quiet, four, 0.95) is None and detectable(quiet, five, 0.95) is not None
    still = Noise(between=0.0, own=0.0, common=0.0)
    assert power(1.0, still, four, 0.95) == 0.0 and detectable(still, four, 0.95) is None
    components = Components(difference=0.0, training_sets=0.01**2, seeds=0.0, **NO_LESIONS)
    assert sets_needed(1.0, components, 100, four, 0.95) == (5 if shared else None)


def test_more_sets_per_fold_have_more_in_common() -> None:
    """Ten sets of 50 hold five times as many of a fold's lesions as two do, so that folds share five times as many."""
    plan = Plan(replicates=5, sets=2, lesions=100, shared=False, in_common=0.1, cap=0.7)
    shares = [plan.with_sets(count).share for count in (2, 10, 14, 40)]
    assert shares == pytest.approx([1 / 5 + rho / (1 - rho) for rho in (0.1, 0.5, 0.7, 0.7)])
    components = Components(difference=0.0, training_sets=0.012**2, seeds=0.0, **NO_LESIONS)
    apart = replace(plan, in_common=0.0)
    needed = [sets_needed(0.015, components, 100, one, 0.95) for one in (plan, apart)]
    assert needed == [25, 10], "more sets share more"
