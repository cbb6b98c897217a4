"""What policies declare about themselves: completed from the Protocol, checked, and held against a run's config."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from engine.types import RunFacts
from policies.base import AcceptancePolicy, MiningPolicy, MixingPolicy, SelectionPolicy

_WORDS: Final = {bool: "True or False", NoneType: "None"}


def methods(protocol: type) -> tuple[str, ...]:
    """Return the names of a Protocol's methods."""
    return tuple(
        name for name, member in vars(protocol).items() if inspect.isfunction(member) and name[0] != "_"
    )


def complete(policy: type, protocol: type) -> None:
    """Give a policy class the Protocol's own declaration wherever it makes none."""
    fields = {field.name for field in dataclasses.fields(policy)}
    for name, default in _declarations(protocol).items():
        if not hasattr(policy, name) and name not in fields:
            setattr(policy, name, default)


def class_problems(policy: type, protocol: type) -> Iterator[str]:
    """Yield what is wrong with the declarations that a policy class makes for all its instances."""
    fields = {field.name for field in dataclasses.fields(policy)}
    for name in _declarations(protocol):
        value = inspect.getattr_static(policy, name, None)
        if inspect.isfunction(value):
            yield f"{name} is a method; put @property above it"
        elif name not in fields and not isinstance(value, property | functools.cached_property):
            yield from _value_problem(protocol, name, value)


def problems(policy: object, protocol: type) -> Iterator[str]:
    """Yield what is wrong with the declarations of a policy; properties may depend on its parameters."""
    for name in _declarations(protocol):
        yield from _value_problem(protocol, name, getattr(policy, name))


def conflicts(policy: object, run: RunFacts) -> Iterator[str]:
    """Yield why a policy cannot work in a run, and the remedy, as the end of a sentence that begins with its name."""
    if isinstance(policy, MiningPolicy) and policy.wanted is not None and run.mine_from == "crossfit":
        yield (
            "asks classifiers that were trained on every train image, and out-of-fold predictions have none; "
            "use loop.mine_from: mine, or another policy"
        )
    if isinstance(policy, MiningPolicy) and policy.wants_early and run.mine_from != "crossfit":
        yield (
            "asks for predictions of fits stopped early, which only the fits across folds leave; "
            "use loop.mine_from: crossfit, or another policy"
        )
    if isinstance(policy, MixingPolicy) and policy.wants_other and run.generator == "retrieved":
        yield (
            "mixes in neighbours of another class, which synthesis.generator: retrieved returns under the case's own; "
            "use interpolate or neighbours"
        )
    if isinstance(policy, SelectionPolicy) and policy.wants_candidates and run.candidates == 1:
        yield (
            "has no choice while loop.candidates is 1: every image that passes the gates is kept; "
            "raise loop.candidates, for example to 4, or leave policy.selection out"
        )
    if isinstance(policy, AcceptancePolicy) and policy.rejects_train_images and run.generator == "retrieved":
        yield (
            "rejects every image of synthesis.generator: retrieved, which are train images; "
            "use label_consistent or all"
        )


def _declarations(protocol: type) -> dict[str, property]:
    return {name: member for name, member in vars(protocol).items() if isinstance(member, property)}


def _value_problem(protocol: type, name: str, value: Any) -> Iterator[str]:
    allowed = get_type_hints(_declarations(protocol)[name].fget)["return"]
    if not isinstance(value, allowed):
        words = " or ".join(
            _WORDS.get(part, f"a {part.__name__}") for part in get_args(allowed) or (allowed,)
        )
        yield f"{name} is {value!r}; it must be {words}"
