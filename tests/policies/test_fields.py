"""Parameters of plug-ins are checked like those of built-in policies, whichever kind of dataclass declares them."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from typing import Annotated, Any, Literal

import pydantic.dataclasses
import pytest
from pydantic import ConfigDict, Field, ValidationError, field_validator

from engine.errors import ConfigError
from policies import registry
from policies.mining import Cut, Margin


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names("stopping")
    monkeypatch.setattr(registry, "_POLICIES", dict(registry._POLICIES))


class Decides:
    """The method of a stopping policy."""

    def decide(self, state: Any) -> Any:
        return state


@dataclasses.dataclass(frozen=True)
class Pickled(Decides):
    """A plain dataclass at the top of a module."""

    rounds: int = 1


@dataclasses.dataclass(frozen=True)
class Plain(Decides):
    """The standard library's dataclass."""

    rounds: Annotated[int, Field(ge=1, description="how many")] = 2
    least: float = Field(0.5, gt=0.0, description="least rise")
    mode: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rounds == 13:
            raise ValueError("rounds 13 brings bad luck")


@pydantic.dataclasses.dataclass(frozen=True)
class Lax(Decides):
    """Pydantic's dataclass without a configuration."""

    rounds: Annotated[int, Field(ge=1, description="how many")] = 2
    least: float = Field(0.5, gt=0.0, description="least rise")
    mode: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rounds == 13:
            raise ValueError("rounds 13 brings bad luck")


@pytest.mark.parametrize("policy", [Plain, Lax])
@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rounds": "1"}, "rounds: '1' is not a whole number"),
        ({"rounds": True}, "rounds: True is not a whole number"),
        ({"rounds": 0}, "rounds: 0 is out of bounds; it must be at least 1"),
        ({"least": 0}, "least: 0 is out of bounds; it must be above 0"),
        ({"least": True}, "least: True is not a number"),
        ({"least": float("inf")}, "least: inf is not a number"),
        ({"mode": "c"}, "mode: 'c' is not one of a, b"),
        ({"round": 1}, "round: unknown field; did you mean rounds? fields of plug_in: rounds, least, mode"),
    ],
)
def test_parameters_are_checked_strictly(policy: type, values: dict[str, Any], text: str) -> None:
    registry.register("stopping", "plug_in")(policy)
    with pytest.raises(ConfigError) as error:
        registry.check("stopping", {"name": "plug_in", **values})
    assert str(error.value) == f"policy.stopping.{text}"


@pytest.mark.parametrize("policy", [Plain, Lax])
def test_values_defaults_descriptions_and_own_checks(policy: type) -> None:
    returned = registry.register("stopping", "plug_in")(policy)
    made: Any = registry.make("stopping", {"name": "plug_in", "least": 1})
    assert (made.rounds, made.least, made.mode) == (2, 1.0, "a")
    assert isinstance(made.least, float) and isinstance(made, policy) and made == returned(least=1.0)
    described = registry.describe("stopping", "plug_in")
    assert described["doc"] == policy.__doc__
    assert described["fields"]["rounds"] == {
        "type": "int", "default": 2, "required": False, "bounds": {"ge": 1}, "doc": "how many",
    }  # fmt: skip
    assert described["fields"]["least"]["bounds"] == {"gt": 0.0}
    with pytest.raises(ConfigError, match=r"^policy\.stopping: rounds 13 brings bad luck$"):
        registry.check("stopping", {"name": "plug_in", "rounds": 13})


def test_a_plain_dataclass_may_build_on_a_built_in_one() -> None:
    @registry.register("mining", "mine")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(Cut):
        """Ours."""

        share: float = 0.5

        def mine(self, state: Any, rng: Any) -> Any:
            return state

    made: Any = registry.make("mining", {"name": "mine", "top_k": 3})
    assert (made.top_k, made.share) == (3, 0.5)
    with pytest.raises(ConfigError, match=r"policy\.mining\.share: '1' is not a number"):
        registry.check("mining", {"name": "mine", "share": "1"})
    with pytest.raises(ConfigError, match=r"policy\.mining\.top_k: 0 is out of bounds"):
        registry.check("mining", {"name": "mine", "top_k": 0})
    with pytest.raises(ConfigError, match=r"policy\.mining: min_score 2 exceeds max_score 1"):
        registry.check("mining", {"name": "mine", "min_score": 2, "max_score": 1})


def test_what_a_policy_sets_of_pydantic_itself_stays() -> None:
    @registry.register("stopping", "trims")
    @pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(str_strip_whitespace=True))
    class Trims(Decides):
        """Ours."""

        word: str = "x"
        count: int = 1

    made: Any = registry.make("stopping", {"name": "trims", "word": " y "})
    assert made.word == "y"
    with pytest.raises(ConfigError, match=r"count: '1' is not a whole number"):
        registry.check("stopping", {"name": "trims", "count": "1"})


def test_other_types_are_reported_in_pydantics_words() -> None:
    @registry.register("stopping", "rich")
    @pydantic.dataclasses.dataclass(frozen=True, kw_only=True)
    class Rich(Decides):
        """Ours."""

        shares: list[float] = Field(default_factory=list, max_length=2)
        name_of: Annotated[str, Field(pattern="^[a-z]+$")]
        either: Annotated[int, Field(ge=1)] | str = 1

        @field_validator("shares")
        @classmethod
        def _sum(cls, shares: list[float]) -> list[float]:
            if sum(shares) > 1:
                raise ValueError(f"the shares add up to {sum(shares):g}, more than 1")
            return shares

    def said(**values: Any) -> str:
        with pytest.raises(ConfigError) as error:
            registry.check("stopping", {"name": "rich", "name_of": "a", **values})
        return str(error.value)

    assert said(shares=[0.5, 0.75]) == "policy.stopping.shares: the shares add up to 1.25, more than 1"
    assert said(shares=[0.5, "x"]) == (
        "policy.stopping.shares: [0.5, 'x'] does not fit: [1] input should be a valid number"
    )
    assert said(shares=[0.1] * 3).startswith(
        "policy.stopping.shares: [0.1, 0.1, 0.1] does not fit: list should"
    )
    assert said(name_of="A").startswith("policy.stopping.name_of: 'A' does not fit: string should match")
    assert said(name_of=3) == "policy.stopping.name_of: 3 is not text"
    assert said(either=0) == "policy.stopping.either: 0 is out of bounds; it must be at least 1"
    assert said(either=None) == "policy.stopping.either: None is not a whole number or text"
    with pytest.raises(ConfigError, match=r"policy\.stopping\.name_of: required by rich; a str"):
        registry.check("stopping", {"name": "rich"})
    fields = registry.describe("stopping", "rich")["fields"]
    assert (fields["shares"]["type"], fields["shares"]["default"]) == ("list[float]", [])
    assert (fields["either"]["type"], fields["either"]["bounds"]) == ("int | str", {"ge": 1})


def test_policies_made_in_python_are_checked_too() -> None:
    with pytest.raises(ValidationError, match="top_k"):
        Margin(top_k=0)
    with pytest.raises(ValueError, match="min_score 2 exceeds max_score 1"):
        Margin(min_score=2, max_score=1)


def test_a_registered_plain_dataclass_can_be_sent_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = registry.register("stopping", "pickled")(Pickled)
    monkeypatch.setattr(sys.modules[__name__], "Pickled", registered)  # as the decorator does
    made = registry.make("stopping", {"name": "pickled", "rounds": 3})
    assert pickle.loads(pickle.dumps(made)) == made == registered(rounds=3)
