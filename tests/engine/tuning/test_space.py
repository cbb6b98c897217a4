"""The search space: what may be tuned, what is refused with which remedy, and that every choice is proven."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import parse_config
from engine.errors import ConfigError
from engine.tuning.space import Choice, Range, SearchSpace, prove, read_space, setting_text, trial_config
from policies import registry


def space_of(space: dict[str, Any], **sections: Any) -> SearchSpace:
    return read_space(parse_config({"search_space": space, **sections}))


def test_a_list_is_short_for_choice_and_ranges_keep_their_kind() -> None:
    found = space_of(
        {
            "policy.mining.name": ["margin", "entropy"],
            "policy.budget": {"choice": [{"name": "uniform"}]},
            "synthesis.guidance_scale": {"uniform": [1, 4]},
            "classifier.round_lr": {"loguniform": [1e-4, 1e-2]},
            "loop.budget": {"int": [100, 200]},
        }
    ).domains
    assert found["policy.mining.name"] == Choice(values=("margin", "entropy"))
    assert found["policy.budget"] == Choice(values=({"name": "uniform"},))
    assert found["classifier.round_lr"] == Range(kind="loguniform", low=1e-4, high=1e-2)
    assert found["loop.budget"].samples() == (100, 200)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "search_space: is empty"),
        ({"seed": [1, 2]}, "search_space.seed: cannot be tuned; seed is chance"),
        ({"loop.seed": [1, 2]}, "search_space.loop.seed: cannot be tuned"),
        ({"data.image_size": [32, 64]}, "search_space.data.image_size: cannot be tuned; data is the data"),
        ({"denoiser.steps": [1, 2]}, "search_space.denoiser.steps: cannot be tuned; denoiser is the foundation"),
        ({"output": ["a", "b"]}, "search_space.output: cannot be tuned; output is where"),
        ({"evaluation.bootstrap": [100, 200]}, "measured"),
        ({"loop.rounds": [1, 2]}, "measure of time"),
        ({"sinthesis.steps": [1, 2]}, "search_space.sinthesis.steps: no key that can be tuned"),
        ({"synthesis": [{}]}, "give a dotted key of classifier, loop, policy, synthesis"),
        ({"loop.budget": 3}, "search_space.loop.budget: 3 is no domain"),
        ({"loop.budget": []}, "is no domain"),
        ({"loop.budget": {"int": [1, 2.5]}}, "int needs two whole numbers"),
        ({"loop.budget": {"int": [2, 2]}}, "low < high"),
        ({"classifier.lr": {"loguniform": [0, 1]}}, "0 < low < high"),
        ({"loop.budget": [1, 1]}, "listed twice"),
        ({"policy.mining": [{"name": "margin"}], "policy.mining.top_k": [1, 2]}, "holds search_space.policy.mining.top_k"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_refused_with_key_and_remedy(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        space_of(space)
    assert said in str(error.value)


def test_a_range_has_no_grid() -> None:
    with pytest.raises(ConfigError, match=r"list the values, or use tune\.searcher: optuna"):
        space_of({"loop.budget": {"int": [1, 9]}}, tune={"searcher": "grid"})


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"policy.mining.name": ["margin", "margins"]}, "did you mean margin"),
        ({"synthesis.guidence_scale": {"uniform": [1.0, 2.0]}}, "did you mean synthesis.guidance_scale"),
        ({"policy.mining": [{"name": "margin", "top_k": 0}]}, "policy.mining.top_k"),
        ({"policy.mining.name": ["random", "bald"], "loop.mine_from": ["mine", "crossfit"]}, "bald"),
    ],
)
def test_every_choice_is_proven_before_anything_runs(space: dict[str, Any], said: str) -> None:
    config = parse_config({"search_space": space})
    with pytest.raises(ConfigError, match="search_space: holds a setting that no trial can run") as error:
        prove(read_space(config), config, registry.check, lambda _config: None)
    assert said in str(error.value)


def test_a_sound_space_is_proven_on_every_combination() -> None:
    config = parse_config(
        {"search_space": {"policy.mining.name": ["margin", "loss"], "loop.budget": {"int": [5, 9]}}}
    )
    seen: list[tuple[str, int]] = []
    prove(
        read_space(config),
        config,
        registry.check,
        lambda c: seen.append((c.policy.mining["name"], c.loop.budget)),
    )
    assert seen == [("margin", 5), ("margin", 9), ("loss", 5), ("loss", 9)]


def test_of_a_large_space_each_pair_is_proven() -> None:
    numbers = {f"key{k}": Choice(values=tuple(range(10))) for k in range(3)}
    points = list(SearchSpace(domains=numbers).points())
    assert len(points) == 3 * 100
    assert {"key0": 9, "key1": 9, "key2": 0} in points


def test_settings_go_into_the_config_and_the_space_goes_out() -> None:
    config = parse_config(
        {"search_space": {"loop.budget": [1]}, "policy": {"mining": {"name": "margin", "top_k": 3}}}
    )
    made = trial_config(config, {"policy.mining.top_k": 7, "synthesis.steps": 4}, registry.check, name="x")
    assert made.policy.mining == {"name": "margin", "top_k": 7}
    assert (made.synthesis.steps, made.name, made.search_space) == (4, "x", {})
    assert config.policy.mining["top_k"] == 3


def test_only_plain_training_keys_touch_round_zero() -> None:
    assert space_of({"classifier.lr": {"uniform": [0.1, 0.2]}}).touches_round_zero
    assert not space_of(
        {"classifier.round_lr": {"uniform": [0.1, 0.2]}, "loop.budget": [1]}
    ).touches_round_zero


def test_settings_read_as_one_would_type_them() -> None:
    assert setting_text(("a.b", 0.123456)) == "a.b=0.1235"
    assert setting_text(("a.b", "x")) == "a.b=x"
    assert setting_text(("a.b", {"name": "x"})) == 'a.b={"name": "x"}'
