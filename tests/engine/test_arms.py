"""The table of arms: every arm is whole, and what other modules derive from it is what they had written out before."""

from __future__ import annotations

import re

import pytest

from engine.arms import ARMS, CONFIRMATORY, ENGINE, HEADLINE, SOURCES, START
from engine.config import parse_config
from engine.errors import ConfigError
from engine.pipeline.arms import NEEDED
from engine.stages.pool import ADDITIONS


def test_what_is_derived() -> None:
    assert set(CONFIRMATORY) == {"classical", "distilled", "random", "mined", "retrieved"}
    assert HEADLINE == ("real", "random")
    assert SOURCES == ("random", "unguided", "dcgan", "hard")
    assert (ENGINE, START) == ("hard", "real")
    assert [name for name, arm in ARMS.items() if not arm.own] == ["synthetic"]
    assert [name for name, arm in ARMS.items() if arm.plain] == ["plain"]
    unmatched = {
        "plain",
        "real",
        "hard",
        "synthetic",
        "all_real",
        "queried",
        "queried_random",
        "hard_and_queried",
    }
    assert [name for name, arm in ARMS.items() if arm.asks] == ["queried", "queried_random"]
    assert {name for name, arm in ARMS.items() if not arm.matched} == unmatched
    assert [name for name, arm in ARMS.items() if arm.matched == "total"] == ["unguided"]


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_is_whole(name: str) -> None:
    arm = ARMS[name]
    assert arm.name == name
    assert arm.trains_on
    assert re.fullmatch(r"(on|with) .{5,}", arm.label) and len(arm.label) <= 36
    assert re.fullmatch(r"#[0-9a-f]{6}", arm.colour)
    assert arm.adds in ADDITIONS
    assert arm.adds in NEEDED
    assert (arm.source != "") == (arm.adds == "synthetic images")
    assert (arm.parents != "") == arm.makes_images
    assert arm.source in ("", *SOURCES)
    assert not arm.labels or ARMS[arm.labels].asks
    assert (arm.asks != "") == (arm.labels == arm.name)


def test_no_two_arms_share_a_colour() -> None:
    assert len({arm.colour for arm in ARMS.values()}) == len(ARMS)


def test_the_config_knows_the_arms_of_the_table() -> None:
    whole = {
        "data": {"unlabelled": "keep"}, "loop": {"arms": list(ARMS)}, "classifier": {"round_init": "scratch"}
    }  # fmt: skip
    assert parse_config(whole).loop.arms == list(ARMS)
    with pytest.raises(ConfigError, match=r"loop\.arms.*classical"):
        parse_config({"loop": {"arms": ["hard", "clasical"]}})
