"""What a policy declares is completed, checked and held against the run, for plug-ins as for built-in policies."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, ClassVar

import pytest
from pydantic.dataclasses import dataclass

from engine.config import parse_config
from engine.errors import ConfigError
from engine.types import DrawRequest, RunFacts
from policies import registry
from policies.base import STRICT, AcceptancePolicy, MiningPolicy
from policies.mining import Margin


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plug-ins registered by a test are gone after it."""
    registry.names("mining")
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))


frozen = dataclass(frozen=True, kw_only=True, config=STRICT)


@frozen
class Silent:
    """Declares nothing."""

    def mine(self, state: Any, rng: Any) -> Any:
        return state


@frozen
class Asks(Margin):
    """Declares draws for all instances."""

    wanted: ClassVar[DrawRequest] = DrawRequest(kind="committee")


@frozen
class AsksSometimes(Margin):
    """Declares draws that depend on a parameter."""

    draws: int = 0

    @property
    def wanted(self) -> DrawRequest | None:
        return DrawRequest(kind="dropout", count=self.draws, rate=0.5) if self.draws else None


def problem(kind: str, spec: dict[str, Any], run: RunFacts | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        registry.check(kind, spec, run)
    return str(error.value)


def test_a_policy_that_declares_nothing_gets_the_protocols_values() -> None:
    registry.register("mining", "silent")(Silent)
    policy = registry.make("mining", {"name": "silent"})
    assert (policy.wanted, policy.wants_early) == (None, False)
    assert isinstance(policy, MiningPolicy)
    assert registry.make("mixing", {"name": "interpolate"}).wants_other is False
    assert registry.make("selection", {"name": "random"}).wants_real is False
    accepts_all = registry.make("acceptance", {"name": "all"})
    assert (accepts_all.wants_review, accepts_all.rejects_train_images) == (False, False)
    assert isinstance(accepts_all, AcceptancePolicy)


@pytest.mark.parametrize(
    ("spec", "review", "rejects"),
    [
        ({"name": "label_consistent"}, False, False),
        ({"name": "in_distribution"}, False, False),
        ({"name": "not_memorized"}, False, True),
        ({"name": "default"}, False, True),
        ({"name": "reviewed"}, True, False),
        ({"name": "conjunction", "of": [{"name": "all"}, {"name": "reviewed"}]}, True, False),
        ({"name": "conjunction", "of": [{"name": "all"}, {"name": "default"}]}, False, True),
        ({"name": "conjunction", "of": [{"name": "all"}]}, False, False),
    ],
)
def test_what_the_acceptance_policies_declare(spec: dict[str, Any], review: bool, rejects: bool) -> None:
    policy = registry.make("acceptance", spec)
    assert (policy.wants_review, policy.rejects_train_images) == (review, rejects)


def test_a_declaration_may_be_a_constant_or_depend_on_parameters() -> None:
    registry.register("mining", "asks")(Asks)
    registry.register("mining", "asks_sometimes")(AsksSometimes)
    assert registry.make("mining", {"name": "asks"}).wanted == DrawRequest(kind="committee")
    assert registry.make("mining", {"name": "asks_sometimes"}).wanted is None
    wanted = registry.make("mining", {"name": "asks_sometimes", "draws": 3}).wanted
    assert wanted == DrawRequest(kind="dropout", count=3, rate=0.5)
    assert registry.make("mining", {"name": "bald", "draws": 9}).wanted == DrawRequest(
        kind="dropout", count=9, rate=0.3
    )


@frozen
class WantsText(Margin):
    """Declares a draw request by a word."""

    wanted = "dropout"


@frozen
class WantsByMethod(Margin):
    """Forgot @property."""

    def wanted(self) -> None:
        return None


@frozen
class ReviewsByNumber:
    """Declares a number for a truth value."""

    wants_review: ClassVar[int] = 1

    def accept(self, state: Any) -> Any:
        return state


@pytest.mark.parametrize(
    ("kind", "policy", "text"),
    [
        ("mining", WantsText, "WantsText: wanted is 'dropout'; it must be a DrawRequest or None"),
        ("mining", WantsByMethod, "WantsByMethod: wanted is a method; put @property above it"),
        ("acceptance", ReviewsByNumber, "ReviewsByNumber: wants_review is 1; it must be True or False"),
    ],
)
def test_a_declaration_of_the_wrong_type_is_refused_at_registration(
    kind: str, policy: type, text: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        registry.register(kind, "wrong")(policy)
    assert "wrong" not in registry.names(kind)


@frozen
class WrongProperty(Margin):
    """Computes something else than a draw request."""

    @functools.cached_property
    def wanted(self) -> Any:
        return self.top_k


@frozen
class WrongField(Margin):
    """Lets YAML say what is declared."""

    wanted: int | None = None


@pytest.mark.parametrize(
    ("policy", "spec", "value"), [(WrongProperty, {"top_k": 3}, "3"), (WrongField, {"wanted": 2}, "2")]
)
def test_a_computed_declaration_of_the_wrong_type_is_refused_when_the_config_is_checked(
    policy: type, spec: dict[str, Any], value: str
) -> None:
    registry.register("mining", "computed")(policy)
    text = problem("mining", {"name": "computed", **spec})
    assert text.startswith("policy.mining: computed (")
    assert text.endswith(f"{policy.__name__}): wanted is {value}; it must be a DrawRequest or None")


CROSSFIT = RunFacts(mine_from="crossfit", generator="diffusion")
RETRIEVED = RunFacts(mine_from="mine", generator="retrieved")


@pytest.mark.parametrize("name", ["bald", "committee", "asks"])
def test_draws_and_out_of_fold_predictions_exclude_each_other(name: str) -> None:
    registry.register("mining", "asks")(Asks)
    text = problem("mining", {"name": name}, CROSSFIT)
    assert text.startswith(f"policy.mining: {name} asks classifiers that were trained on every train image")
    assert text.endswith("use loop.mine_from: mine, or another policy")
    registry.check("mining", {"name": name}, RETRIEVED)
    registry.check("mining", {"name": name})


def test_a_selection_needs_candidates_to_choose_from_but_for_the_control() -> None:
    assert problem("selection", {"name": "entropy"}, CROSSFIT) == (
        "policy.selection: entropy has no choice while loop.candidates is 1: every image that passes the gates is kept; "
        "raise loop.candidates, for example to 4, or leave policy.selection out"
    )
    registry.check("selection", {"name": "random"}, CROSSFIT)
    for name in registry.names("selection"):
        registry.check("selection", {"name": name}, dataclasses.replace(CROSSFIT, candidates=4.0))


@pytest.mark.parametrize("mine_from", ["mine", "test"])
def test_early_predictions_need_the_fits_across_folds(mine_from: str) -> None:
    text = problem("mining", {"name": "slow_learner"}, RunFacts(mine_from=mine_from, generator="diffusion"))
    assert text == (
        "policy.mining: slow_learner asks for predictions of fits stopped early, which only the fits across folds leave; "
        "use loop.mine_from: crossfit, or another policy"
    )
    registry.check("mining", {"name": "slow_learner"}, CROSSFIT)
    registry.check("mining", {"name": "power"}, RETRIEVED)


def test_neighbours_of_another_class_are_no_images_of_the_case_s_own() -> None:
    assert problem("mixing", {"name": "boundary"}, RETRIEVED) == (
        "policy.mixing: boundary mixes in neighbours of another class, which synthesis.generator: retrieved returns under "
        "the case's own; use interpolate or neighbours"
    )
    registry.check("mixing", {"name": "boundary"}, CROSSFIT)
    registry.check("mixing", {"name": "interpolate"}, RETRIEVED)


def test_a_plug_in_conflicts_only_with_the_parameters_that_ask_for_draws() -> None:
    registry.register("mining", "asks_sometimes")(AsksSometimes)
    registry.check("mining", {"name": "asks_sometimes"}, CROSSFIT)
    assert "asks_sometimes asks" in problem("mining", {"name": "asks_sometimes", "draws": 2}, CROSSFIT)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "default"},
        {"name": "not_memorized"},
        {"name": "conjunction", "of": [{"name": "all"}, {"name": "default"}]},
    ],
)
def test_gates_that_reject_train_images_leave_nothing_of_retrieved_ones(spec: dict[str, Any]) -> None:
    text = problem("acceptance", spec, RETRIEVED)
    assert text.startswith(
        f"policy.acceptance: {spec['name']} rejects every image of synthesis.generator: retr"
    )
    assert text.endswith("use label_consistent or all")
    registry.check("acceptance", spec, CROSSFIT)
    registry.check("acceptance", {"name": "label_consistent"}, RETRIEVED)


def test_all_conflicts_of_a_config_come_in_one_message() -> None:
    registry.register("mining", "asks")(Asks)
    tree = {
        "loop": {"mine_from": "crossfit"},
        "synthesis": {"generator": "retrieved"},
        "policy": {"mining": {"name": "asks"}, "budget": {"name": "uniform", "x": 1}},
    }
    with pytest.raises(ConfigError) as error:
        parse_config(tree, check_policy=registry.check)
    lines = str(error.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        "config",
        "policy.mining",
        "policy.budget.x",
        "policy.acceptance",
    ]


def test_a_plain_dataclass_may_declare_too() -> None:
    @registry.register("acceptance", "plain")
    @dataclasses.dataclass(frozen=True)
    class Plain:
        """Ours."""

        wants_review: ClassVar[bool] = True

        def accept(self, state: Any) -> Any:
            return state

    policy = registry.make("acceptance", {"name": "plain"})
    assert isinstance(policy, Plain)
    assert (policy.wants_review, policy.rejects_train_images) == (True, False)
