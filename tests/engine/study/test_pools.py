"""Which arms of a round trained on the same images."""

from __future__ import annotations

from typing import Any

import pytest

from engine.artifacts.report_json import BoughtLabels, RoundEntry, RunReport
from engine.study.pools import OWN, added_of, pool_text, pools_of, unmatched


def entry(arm: str, number: int = 1, added: int | None = None, key: str = "", **more: Any) -> RoundEntry:
    pool = None if added is None else {"arm": arm, "added": {"mel": added, "nv": 0}}
    digests = {"pool": key} if key else {}
    return RoundEntry(round=number, arm=arm, pool=pool, digests=digests, **more)


def pools(*entries: RoundEntry) -> dict[str, str]:
    return pools_of(RunReport(rounds=entries), 1)


def test_arms_that_add_no_image_have_one_pool_whatever_stage_laid_it_out() -> None:
    found = pools(
        entry("real", added=0, key="a"), entry("hard", added=0, key="b"), entry("mined", added=4, key="c")
    )
    assert found == {"real": OWN, "hard": OWN, "mined": "c"}


def test_pools_of_one_key_are_the_same() -> None:
    found = pools(entry("random", added=3, key="k"), entry("hard", added=3, key="k"))
    assert found["random"] == found["hard"] != OWN


def test_what_a_pool_keeps_of_earlier_rounds_counts() -> None:
    assert pools(entry("hard", added=5, key="k", n_accepted=0))["hard"] == "k"


@pytest.mark.parametrize(("accepted", "expected"), [((0, 0), OWN), ((2, 0), "")])
def test_reports_without_pools_say_how_many_were_accepted(accepted: tuple[int, int], expected: str) -> None:
    rounds = [entry("hard", number=n + 1, n_accepted=count) for n, count in enumerate(accepted)]
    report = RunReport(rounds=(*rounds, entry("real", number=2)))
    assert pool_text(report.rounds[1], report) == expected
    assert pool_text(report.rounds[2], report) == OWN


@pytest.mark.parametrize(("answered", "expected"), [(0, OWN), (4, "k")])
def test_labels_that_an_arm_bought_are_images_of_its_own(answered: int, expected: str) -> None:
    bought = BoughtLabels(asked=4, answered=answered, conflicts=0, unsure=4 - answered, simulated=True)
    found = pools(entry("queried", added=0, key="k", labels=bought), entry("real", added=0, key="r"))
    assert found == {"queried": expected, "real": OWN}


def test_what_is_not_known_is_left_out() -> None:
    assert pools(entry("classical")) == {}
    assert pools(entry("synthetic", added=0, key="s")) == {"synthetic": "s"}, "it has no images of its own"
    assert pools(entry("an arm of a later version", added=0)) == {"an arm of a later version": OWN}


def test_images_added_are_counted_by_class_where_the_report_says() -> None:
    report = RunReport(rounds=(entry("hard", added=5), entry("random", added=3), entry("classical")))
    assert added_of(report, 1) == {"hard": {"mel": 5, "nv": 0}, "random": {"mel": 3, "nv": 0}}
    assert added_of(report, 2) == {}


@pytest.mark.parametrize(
    ("hard", "random", "expected"),
    [
        ({"mel": 60}, {"mel": 2}, "random and hard had unequal numbers of images added: mel 4 and 120"),
        ({"mel": 2}, {"mel": 60}, "random and hard had unequal numbers of images added: mel 120 and 4"),
        (
            {"mel": 60, "df": 20},
            {"mel": 60},
            "random and hard had unequal numbers of images added: df 0 and 40",
        ),
        ({"mel": 60}, {"mel": 57}, ""),
        ({"mel": 60}, {"mel": 56}, "random and hard had unequal numbers of images added: mel 112 and 120"),
        ({"mel": 0}, {"mel": 0}, ""),
        ({"mel": 60, "df": 3}, {"mel": 60, "df": 2}, ""),
        (
            {"mel": 60, "df": 6},
            {"mel": 56, "df": 8},
            "random and hard had unequal numbers of images added: df 16 and 12, mel 112 and 120",
        ),
    ],
)
def test_arms_that_should_match_have_as_many_images_of_each_class(
    hard: dict[str, int], random: dict[str, int], expected: str
) -> None:
    """Two runs alike; a third does not count its pools."""
    runs = [{"hard": hard, "random": random}] * 2 + [{"hard": {"mel": 9}}]
    assert unmatched(runs, "hard", "random") == expected
