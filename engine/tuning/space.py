"""The search space: dotted config keys, what each may be, and the proof that every choice makes a valid config."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from engine.config import Config, parse_config, set_key
from engine.config.loading import PolicyCheck
from engine.errors import ConfigError

Settings = Mapping[str, Any]
"""One value a tuned key."""

ALL_POINTS = 256
"""Up to so many combinations of choices are all checked; of more, each choice and each pair."""
_SHARED = "the foundation, which all trials share; give name=OTHER and another value for a sweep of its own"
REFUSED = {
    "data": "the data, which all trials share; give name=OTHER and another value for a sweep of its own",
    **dict.fromkeys(("embedder", "vae", "denoiser", "gan", "judge"), _SHARED),
    "seed": "chance: the best seed is luck; leave it out and try the winner on fresh loop.seed values",
    "loop.seed": "chance: the best seed is luck; leave it out and try the winner on fresh loop.seed values",
    "loop.rounds": "the measure of time that tune.scheduler stops by; set loop.rounds once for all trials",
    "loop.arms": "the comparison, and a trial trains arm hard alone; leave it out",
    "loop.compare": "the comparison, and a trial trains arm hard alone; leave it out",
    "loop.generator_saw": "a statement about the generator that is shared; leave it out",
    "evaluation": "how trials are measured, which must be the same in all; leave it out",
    **dict.fromkeys(("name", "output", "backend", "tracking", "search_space", "tune"),
                    "where or how the sweep runs, not what is tried; leave it out"),
}  # fmt: skip
"""Keys that cannot be tuned: what they belong to, and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values; a searcher sees their JSON texts, which any value has."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The text a value."""
        return tuple(json.dumps(value, sort_keys=True) for value in self.values)

    def decode(self, raw: Any) -> Any:
        """Return the value of a label."""
        return self.values[self.labels.index(raw)]

    def samples(self) -> tuple[Any, ...]:
        """Return every value."""
        return self.values


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number from ``low`` to ``high``, both included; ``kind`` is uniform, loguniform or int."""

    kind: str
    low: float
    high: float

    def decode(self, raw: Any) -> Any:
        """Return the number itself."""
        return int(raw) if self.kind == "int" else float(raw)

    def samples(self) -> tuple[Any, ...]:
        """Return both ends."""
        return (self.decode(self.low), self.decode(self.high))


Domain = Choice | Range


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What is tuned: ``domains`` by dotted key, in the config's order."""

    domains: Mapping[str, Domain]

    def decode(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of what a searcher suggested."""
        return {key: domain.decode(raw[key]) for key, domain in self.domains.items()}

    @property
    def touches_round_zero(self) -> bool:
        """Whether a tuned key changes plain training, so that trials cannot share it."""
        later = ("classifier.round_steps", "classifier.round_lr", "classifier.round_init")
        return any(key.startswith("classifier") and key not in later for key in self.domains)

    @property
    def grid_size(self) -> int:
        """How many combinations of choices there are."""
        return math.prod(len(domain.samples()) for domain in self.domains.values())

    def points(self) -> Iterator[dict[str, Any]]:
        """Settings to prove the space on: every combination, or where these are many, each value and each pair."""
        samples = {key: domain.samples() for key, domain in self.domains.items()}
        if self.grid_size <= ALL_POINTS:
            yield from (dict(zip(samples, values, strict=True)) for values in product(*samples.values()))
            return
        first = {key: values[0] for key, values in samples.items()}
        for a, b in combinations(samples, 2):
            yield from ({**first, a: x, b: y} for x, y in product(samples[a], samples[b]))


def read_space(config: Config) -> SearchSpace:
    """Return the search space of a config.

    Raises:
        ConfigError: it is empty, a key cannot be tuned, or a domain is none; names the key and the remedy.
    """
    if not config.search_space:
        raise ConfigError(
            "search_space: is empty, so there is nothing to tune; give for example "
            "search_space: {policy.mining.name: [margin, entropy], synthesis.guidance_scale: {uniform: [1, 4]}}"
        )
    for key in config.search_space:
        _refuse(key, list(config.search_space))
    domains = {key: _domain(key, given) for key, given in config.search_space.items()}
    if config.tune.searcher == "grid":
        for key, domain in domains.items():
            if not isinstance(domain, Choice):
                raise ConfigError(
                    f"search_space.{key}: a range has no grid; list the values, or use tune.searcher: optuna"
                )
    return SearchSpace(domains=domains)


def trial_config(config: Config, settings: Settings, check_policy: PolicyCheck, **changes: Any) -> Config:
    """Return ``config`` with the settings put in, validated; ``changes`` replace whole top-level keys.

    Raises:
        ConfigError: the settings make no valid config.
    """
    tree = copy.deepcopy({**config.model_dump(mode="json"), "search_space": {}, **changes})
    for key, value in settings.items():
        set_key(tree, key, copy.deepcopy(value))
    return parse_config(
        tree, check_policy=check_policy, source="; ".join(map(setting_text, settings.items()))
    )


def prove(
    space: SearchSpace, config: Config, check_policy: PolicyCheck, also: Callable[[Config], None]
) -> None:
    """Make sure that every choice gives a config a trial may run; ``also`` raises ConfigError for more reasons.

    Raises:
        ConfigError: names the settings, what is wrong and that search_space holds them.
    """
    for settings in space.points():
        try:
            also(trial_config(config, settings, check_policy))
        except ConfigError as error:
            raise ConfigError(
                f"search_space: holds a setting that no trial can run; change it\n{error}"
            ) from None


def setting_text(item: tuple[str, Any]) -> str:
    """Return ``key=value`` as a person would type it; numbers to four digits."""
    key, value = item
    if isinstance(value, float):
        return f"{key}={value:.4g}"
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def _refuse(key: str, keys: list[str]) -> None:
    for refused, reason in REFUSED.items():
        if key == refused or key.startswith(f"{refused}."):
            raise ConfigError(f"search_space.{key}: cannot be tuned; {refused} is {reason}")
    section = key.partition(".")[0]
    if section not in Config.model_fields or "." not in key:
        known = sorted(set(Config.model_fields) - {name.partition(".")[0] for name in REFUSED} | {"loop"})
        raise ConfigError(
            f"search_space.{key}: no key that can be tuned; give a dotted key of {', '.join(known)}"
        )
    inside = [other for other in keys if other.startswith(f"{key}.")]
    if inside:
        raise ConfigError(
            f"search_space.{key}: holds search_space.{inside[0]} too; name the parameter in the choices of {key} instead"
        )


def _domain(key: str, given: Any) -> Domain:
    """Read one domain: a list, or a mapping with one kind."""
    kind, values = ("choice", given) if isinstance(given, list) else (None, None)
    if isinstance(given, Mapping) and len(given) == 1:
        ((kind, values),) = given.items()
    if kind == "choice" and isinstance(values, list) and values:
        choice = Choice(values=tuple(values))
        if len(set(choice.labels)) < len(values):
            raise ConfigError(f"search_space.{key}: a value is listed twice; list each once")
        return choice
    if kind in ("uniform", "loguniform", "int") and isinstance(values, list) and len(values) == 2:
        return _range(key, kind, values)
    raise ConfigError(
        f"search_space.{key}: {given!r} is no domain; give [value, ...], {{choice: [...]}}, {{uniform: [low, high]}}, "
        "{loguniform: [low, high]} or {int: [low, high]}"
    )


def _range(key: str, kind: str, bounds: list[Any]) -> Range:
    number = int if kind == "int" else (int, float)
    if not all(isinstance(b, number) and not isinstance(b, bool) and math.isfinite(b) for b in bounds):
        raise ConfigError(
            f"search_space.{key}: {kind} needs two {'whole ' if kind == 'int' else ''}numbers, got {bounds}"
        )
    low, high = bounds
    if low >= high or (kind == "loguniform" and low <= 0):
        floor = "0 < low < high" if kind == "loguniform" else "low < high"
        raise ConfigError(f"search_space.{key}: {kind} needs {floor}, got {bounds}")
    return Range(kind=kind, low=low, high=high)
