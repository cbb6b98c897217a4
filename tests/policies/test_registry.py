"""Specs are validated with every problem named; policies come from this package and from entry points."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.types import BudgetState, HardCases, StoppingState
from policies import registry
from policies.acceptance import Conjunction, LabelConsistent, NotMemorized
from policies.mining import Margin

PLUGIN = '''
import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from policies.base import STRICT
from policies.registry import register

@register("budget", "{name}")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Winner:
    """All to one case."""
    position: int = Field(0, ge=0, description="which case")

    def allocate(self, state, rng):
        counts = np.zeros(len(state.cases), dtype=np.int64)
        counts[self.position] = state.total
        return counts
'''


def test_names_are_sorted_and_complete() -> None:
    mining = (
        "bald",
        "committee",
        "entropy",
        "least_confidence",
        "loss",
        "margin",
        "medium_hard",
        "misclassified",
        "missed_malignancy",
        "power",
        "random",
        "slow_learner",
    )
    assert registry.names("mining")[: len(mining)] == mining
    assert {"bandit", "class_balanced", "images_per_parent", "inverse_sensitivity", "uniform"} <= set(
        registry.names("budget")
    )
    assert {"self", "neighbours", "interpolate", "k_center", "boundary"} == set(registry.names("mixing"))
    acceptance = {
        "all",
        "label_consistent",
        "not_memorized",
        "in_distribution",
        "reviewed",
        "conjunction",
        "default",
    }
    assert acceptance == set(registry.names("acceptance"))
    selection = {
        "random",
        "disagreement",
        "entropy",
        "classifier_loss",
        "gradient_alignment",
        "covariance",
    }
    assert selection == set(registry.names("selection"))
    query = {
        "badge",
        "bald",
        "committee",
        "entropy",
        "k_center",
        "margin",
        "random",
        "typical_then_uncertain",
    }
    assert query == set(registry.names("query"))
    stopping = {"max_rounds", "patience", "specificity_guard", "marginal_value"}
    assert stopping == set(registry.names("stopping"))


@pytest.mark.parametrize("kind", list(registry.KINDS))
def test_every_policy_is_described_made_with_defaults_and_satisfies_its_protocol(kind: str) -> None:
    for name in registry.names(kind):
        described = registry.describe(kind, name)
        assert described["doc"]
        assert all(field["doc"] and field["type"] for field in described["fields"].values())
        if not any(field["required"] for field in described["fields"].values()):
            assert isinstance(registry.make(kind, {"name": name}), registry.KINDS[kind])


WITHOUT_A_SOURCE = {
    ("mining", "random"): "the control: chance",
    ("budget", "uniform"): "the control: equal shares",
    ("mixing", "self"): "the control: nothing is mixed",
    ("acceptance", "all"): "the control: no gate",
    ("selection", "random"): "the control: chance",
    ("query", "random"): "the control: chance",
    ("stopping", "max_rounds"): "the plan itself: loop.rounds",
}


def test_every_policy_states_its_source() -> None:
    """A paper's year or "ours" in the docstring, which ``hardcase config explain`` shows; controls have no source."""
    registered = {(kind, name) for kind in registry.KINDS for name in registry.names(kind)}
    silent = {
        key
        for key in registered
        if not re.search(r"\b(1[89]|20)\d\d\b|\bours\b", registry.describe(*key)["doc"], re.IGNORECASE)
    }
    assert silent == set(WITHOUT_A_SOURCE), "name the paper and its year, or say that the policy is ours"


def test_make_fills_defaults_and_converts_whole_numbers() -> None:
    assert registry.make("mining", {"name": "margin", "top_k": 3, "min_score": 0}) == Margin(
        top_k=3, min_score=0.0
    )
    assert isinstance(registry.make("mining", {"name": "margin", "min_score": 0}).min_score, float)  # type: ignore[attr-defined]


def test_make_builds_nested_policies() -> None:
    spec = {
        "name": "conjunction",
        "of": [{"name": "label_consistent", "threshold": 0.5}, {"name": "not_memorized", "percentile": 5}],
    }
    assert registry.make("acceptance", spec) == Conjunction(
        of=(LabelConsistent(threshold=0.5), NotMemorized(percentile=5))
    )


BAD = [
    (
        "mining",
        {"name": "margn"},
        ["policy.mining.name: unknown mining policy 'margn'", "did you mean margin?"],
    ),
    (
        "mining",
        {"name": "zzzz"},
        [
            "known: bald, committee, entropy, least_confidence, loss, margin, medium_hard, misclassified, missed"
        ],
    ),
    ("mining", {}, ["policy.mining.name: missing; known mining policies: bald, committee, entropy"]),
    ("mining", {"name": 3}, ["unknown mining policy 3"]),
    ("mining", {"name": ["margin"]}, ["unknown mining policy ['margin']"]),
    ("mining", {"name": "margin", "topk": 3}, ["policy.mining.topk: unknown field; did you mean top_k?"]),
    ("mining", {"name": "margin", "q": 3}, ["fields of margin: top_k, min_score, max_score, per_lesion"]),
    (
        "mining",
        {"name": "margin", "top_k": 0},
        ["policy.mining.top_k: 0 is out of bounds; it must be at least 1"],
    ),
    ("mining", {"name": "margin", "top_k": 2.0}, ["policy.mining.top_k: 2.0 is not a whole number or null"]),
    (
        "mining",
        {"name": "margin", "top_k": True},
        ["policy.mining.top_k: True is not a whole number or null"],
    ),
    ("mining", {"name": "margin", "per_lesion": 1}, ["policy.mining.per_lesion: 1 is not true or false"]),
    (
        "mining",
        {"name": "margin", "min_score": "0"},
        ["policy.mining.min_score: '0' is not a number or null"],
    ),
    ("mining", {"name": "margin", "min_score": float("nan")}, ["min_score: nan is not a number or null"]),
    (
        "mining",
        {"name": "loss", "min_score": 2, "max_score": 1},
        ["policy.mining: min_score 2 exceeds max_score 1"],
    ),
    (
        "mixing",
        {"name": "self", "alpha": 1},
        ["policy.mixing.alpha: unknown field; self has no fields, remove it"],
    ),
    (
        "mixing",
        {"name": "neighbours", "alpha": 0},
        ["policy.mixing.alpha: 0 is out of bounds; it must be above 0"],
    ),
    ("mixing", {"name": "interpolate", "high": 1.5}, ["1.5 is out of bounds; it must be at most 1"]),
    ("mixing", {"name": "interpolate", "low": 0.6}, ["policy.mixing: low 0.6 exceeds high 0.5"]),
    (
        "budget",
        {"name": "class_balanced", "mode": "x"},
        ["policy.budget.mode: 'x' is not one of equal, even_out"],
    ),
    (
        "acceptance",
        {"name": "default", "percentile": 2},
        ["policy.acceptance.percentile: 2 is not one of 1, 5, 25"],
    ),
    ("acceptance", {"name": "default", "mode": "argmax", "threshold": 0.5}, ["threshold has no effect"]),
    ("acceptance", {"name": "conjunction"}, ["policy.acceptance.of: required by conjunction"]),
    (
        "acceptance",
        {"name": "conjunction", "of": []},
        ["policy.acceptance.of: expected a list of acceptance"],
    ),
    ("acceptance", {"name": "conjunction", "of": "all"}, ["got 'all'"]),
    ("acceptance", {"name": "conjunction", "of": ["all"]}, ["policy.acceptance.of.0: expected {name: ..."]),
    (
        "acceptance",
        {"name": "conjunction", "of": [{"name": "all"}, {"name": "not_memorised"}]},
        [
            "policy.acceptance.of.1.name: unknown acceptance policy 'not_memorised'",
            "did you mean not_memorized?",
        ],
    ),
    (
        "selection",
        {"name": "disagrement"},
        ["policy.selection.name: unknown selection policy 'disagrement'; did you mean disagreement?"],
    ),
    ("selection", {"name": "entropy", "noise": -1}, ["noise: -1 is out of bounds; it must be at least 0"]),
    (
        "selection",
        {"name": "entropy", "cooling": 1.5},
        ["cooling: 1.5 is out of bounds; it must be at most 1"],
    ),
    (
        "selection",
        {"name": "entropy", "cooling": 0.5},
        ["policy.selection: cooling 0.5 has no effect with noise: 0; raise noise or remove it"],
    ),
    (
        "selection",
        {"name": "gradient_alignment", "drop": 1},
        ["policy.selection.drop: 1 is out of bounds; it must be below 1"],
    ),
    (
        "selection",
        {"name": "random", "drop": 0.2},
        ["policy.selection.drop: unknown field;", "fields of random: noise, cooling, stratified"],
    ),
    ("query", {"name": "kcenter"}, ["unknown query policy 'kcenter'; did you mean k_center?"]),
    ("query", {"name": "margin", "balanced": 1}, ["policy.query.balanced: 1 is not true or false"]),
    (
        "query",
        {"name": "badge", "cooling": 0.5},
        ["policy.query: cooling 0.5 has no effect with noise: 0; raise noise or remove it"],
    ),
    (
        "query",
        {"name": "typical_then_uncertain", "neighbours": 0},
        ["policy.query.neighbours: 0 is out of bounds; it must be at least 1"],
    ),
    ("mining", {"name": "power", "temperature": 0}, ["temperature: 0 is out of bounds; it must be above 0"]),
    (
        "budget",
        {"name": "images_per_parent", "images": 0},
        ["images: 0 is out of bounds; it must be at least 1"],
    ),
    ("mixing", {"name": "boundary", "low": 0.6}, ["policy.mixing: low 0.6 exceeds high 0.5"]),
    (
        "stopping",
        {"name": "patience", "rounds": 0, "min_delta": -1},
        ["rounds: 0 is out", "min_delta: -1 is out"],
    ),
    ("minning", {"name": "margin"}, ["policy.minning: unknown kind of policy; known kinds: mining, budget"]),
]


@pytest.mark.parametrize(("kind", "spec", "texts"), BAD)
def test_bad_specs_name_the_field_the_value_and_the_remedy(
    kind: str, spec: dict[str, Any], texts: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        registry.check(kind, spec)
    for text in texts:
        assert text in str(error.value)


def test_all_problems_of_one_spec_come_in_one_message() -> None:
    spec = {
        "name": "conjunction",
        "off": 1,
        "of": [{"name": "not_memorized", "percentile": "1"}, {"name": "label_consistent", "threshold": 2}],
    }
    with pytest.raises(ConfigError) as error:
        registry.make("acceptance", spec)
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        "policy.acceptance.off",
        "policy.acceptance.of.0.percentile",
        "policy.acceptance.of.1.threshold",
    ]


def test_check_accepts_good_specs() -> None:
    registry.check("mining", {"name": "misclassified"})
    registry.check("stopping", {"name": "patience", "rounds": 3, "min_delta": 0.01, "roll_back": False})


def test_describe_gives_type_default_bounds_and_doc() -> None:
    fields = registry.describe("mining", "margin")["fields"]
    assert fields["top_k"] == {
        "type": "int | null",
        "default": 64,
        "required": False,
        "bounds": {"ge": 1},
        "doc": "most hard cases kept, hardest first; null: all",
    }
    assert registry.describe("budget", "class_balanced")["fields"]["mode"]["type"] == "equal | even_out"
    of = registry.describe("acceptance", "conjunction")["fields"]["of"]
    assert (of["type"], of["required"], of["default"]) == ("list of acceptance policies", True, None)
    with pytest.raises(ConfigError, match=r"unknown mining policy 'x'"):
        registry.describe("mining", "x")


class NotFrozen:
    """Has the method but is no dataclass."""

    def decide(self, state: StoppingState) -> Any:
        return state


@dataclass(frozen=True)
class NoMethod:
    """A dataclass without the Protocol's method."""


@dataclass(frozen=True)
class Taken:
    """Wants a name that is in use."""

    def decide(self, state: StoppingState) -> Any:
        return state


@pytest.mark.parametrize(
    ("kind", "name", "policy", "text"),
    [
        ("stopping", "a", NotFrozen, "no frozen dataclass"),
        ("stopping", "b", NoMethod, "not a policies.base.StoppingPolicy; add its method"),
        ("stopping", "patience", Taken, "stopping policy 'patience' is already policies.stopping.Patience"),
        ("stoping", "c", Taken, "policy.stoping: unknown kind of policy"),
    ],
)
def test_register_refuses_what_cannot_work(kind: str, name: str, policy: type, text: str) -> None:
    registry.names("stopping")
    with pytest.raises(ConfigError, match=re.escape(text)):
        registry.register(kind, name)(policy)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a package that declares an entry point of hardcase.policies, forget it afterwards."""
    before = dict(registry._POLICIES)

    def write(package: str, source: str, value: str) -> None:
        (tmp_path / f"{package}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[hardcase.policies]\n{package} = {value}\n", encoding="utf-8"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        registry.discover.cache_clear()

    yield write
    for name in [p.stem for p in tmp_path.glob("*.py")]:
        sys.modules.pop(name, None)
    registry._POLICIES.clear()
    registry._POLICIES.update(before)
    registry.discover.cache_clear()


def test_an_outside_package_adds_a_policy_by_a_module(install: Any) -> None:
    install("winner_module", PLUGIN.format(name="winner"), "winner_module")
    assert "winner" in registry.names("budget")
    cases = HardCases(
        image_id=np.array(["a", "b"]),
        true=np.array(["x", "y"]),
        predicted=np.array(["y", "x"]),
        score=np.ones(2),
    )
    policy = registry.make("budget", {"name": "winner", "position": 1})
    state = BudgetState(cases=cases, total=5, round=1)
    assert policy.allocate(state, np.random.default_rng(0)).tolist() == [0, 5]
    with pytest.raises(ConfigError, match=r"policy\.budget\.position: -1 is out of bounds"):
        registry.check("budget", {"name": "winner", "position": -1})


@pytest.mark.parametrize("target", ["winner_{kind}:add", "winner_{kind}:Winner"])
def test_an_outside_package_adds_a_policy_by_a_function_or_a_class(install: Any, target: str) -> None:
    kind = "function" if target.endswith("add") else "class"
    source = PLUGIN.format(name=kind)
    if kind == "function":
        body = "\n".join(f"    {line}" for line in source.splitlines())
        source = f"def add():\n{body}\n"
    install(f"winner_{kind}", source, target.format(kind=kind))
    assert kind in registry.names("budget")


def test_a_broken_outside_package_is_named(install: Any) -> None:
    install("broken_policies", "raise RuntimeError('no such card')", "broken_policies")
    with pytest.raises(
        ConfigError, match=r"entry point broken_policies = broken_policies .*no such card.*uninstall"
    ):
        registry.names("mining")
