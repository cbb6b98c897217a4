"""No cache key changes unnoticed: every shipped config and every variant of them against tests/golden/cache_keys.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.arms import ARMS
from engine.stages import NAMES
from tests.golden.cache_keys import FILE, REMEDY, differences, keys_of, named

PINNED: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.mark.slow
@pytest.mark.parametrize("name", named())
def test_every_stage_has_the_key_it_had(name: str, output: Path) -> None:
    lines = differences(PINNED, {name: keys_of(name, output)})
    assert not lines, "\n".join([*lines[:20], f"{len(lines)} keys differ", REMEDY])


def test_every_stage_and_arm_is_pinned_and_nothing_else() -> None:
    assert sorted(PINNED) == sorted(named()), REMEDY
    stages = {value.rpartition("-")[0] for roles in PINNED.values() for value in roles.values()}
    assert stages == set(NAMES)
    arms = {role.split("/")[2] for roles in PINNED.values() for role in roles if role.startswith("rounds/")}
    assert arms == set(ARMS)


def test_a_difference_names_config_role_old_and_new_key() -> None:
    pinned = {"demo": {"foundation/vae": "vae-1", "foundation/gan": "gan-1", "foundation/judge": "judge-1"}}
    found = {
        "demo": {"foundation/vae": "vae-2", "foundation/judge": "judge-1", "foundation/index": "index-1"}
    }
    assert differences(pinned, found) == [
        "demo: foundation/gan: gan-1 was pinned, now none",
        "demo: foundation/index: none was pinned, now index-1",
        "demo: foundation/vae: vae-1 was pinned, now vae-2",
    ]
    assert differences(pinned, pinned) == []
