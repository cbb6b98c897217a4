"""What a stage is: its typed params, its named inputs, the version of its code, and the function that fills a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from engine.config import Config
from engine.errors import StageError
from engine.parts.context import StageContext
from engine.stages.outputs import Output

CHUNK = 32
"""Images per chunk of a map."""


class Params(BaseModel):
    """What a stage reads of the config, and what the loop tells it. Frozen; unknown keys are refused.

    A stage's subclass has a classmethod ``of(config, ...)``, the only place that builds it.

    Class attributes:
        unread: keys of a config section that the stage does not read, by the section's name. They are no part of the
            cache key.
        optional: fields (``section.key`` for one inside a section) that are left out while they hold their default, so
            that adding one to a stage changes no key of a run that does not use it. Another default needs another version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    unread: ClassVar[Mapping[str, frozenset[str]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON that the stage cache hashes and a worker reads back."""
        tree = self.model_dump(mode="json")
        for section, keys in self.unread.items():
            tree[section] = {k: v for k, v in tree[section].items() if k not in keys}
        for path in self.optional:
            _drop_default(tree, self, path.split("."))
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote; sections get the defaults of keys that the stage does not read."""
        return cls.model_validate(dict(tree))


class GeneratorParams(Params):
    """Params of a stage that learns from, or holds, what generator parts may see."""

    optional: ClassVar[frozenset[str]] = frozenset({"unlabelled"})

    unlabelled: bool = False
    """Whether unlabelled images are among it, with class ""."""


def _drop_default(tree: dict[str, Any], model: BaseModel, path: list[str]) -> None:
    for section in path[:-1]:
        tree, model = tree[section], getattr(model, section)
    default = type(model).model_fields[path[-1]].get_default(call_default_factory=True)
    if getattr(model, path[-1]) == default:
        tree.pop(path[-1], None)


P = TypeVar("P", bound=Params)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much there is to do in a run: images decoded, in use, in train, in val and test, and samples per round."""

    images: int
    used: int
    train: int
    held: int
    samples: int

    @staticmethod
    def chunks(images: int) -> int:
        """Return how many chunks a map over so many images has."""
        return -(-images // CHUNK)


def no_units(_params: Any, _sizes: Sizes) -> int:
    """Return 0: the stage's time does not depend on the size of the run enough to count."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[P]):
    """One stage. Raise ``version`` when its output changes, so that no cache serves the old one.

    Attributes:
        name: the module's name in ``engine.stages``.
        params: the class of its params.
        run: fills ``context.out``.
        files: what it writes: the schemas of ``engine.artifacts``, and a line on each file or folder without one.
        inputs: roles of the folders it must be given.
        optional: further roles that it may be given; ``accept_#`` stands for one per round.
        version: of the code that makes the output.
        trains: whether it trains by ``context.launch``.
        fits_apart: whether it trains several models that do not wait for each other.
        maps: whether it maps over images by ``context.map``.
        foundation: whether it is computed once per split and shared by every arm, seed and trial.
        wanted: of a foundation stage: whether a run of this config needs it.
        saving: which settings to change where it has not enough memory.
        units: how many optimizer steps, chunks or images it works through, for the estimate of a dry run.
    """

    name: str
    params: type[P]
    run: Callable[[StageContext, P], None]
    files: tuple[Output, ...]
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    version: int = 1
    trains: bool = False
    fits_apart: bool = False
    maps: bool = False
    foundation: bool = False
    wanted: Callable[[Config], bool] = lambda _config: True
    saving: str = "lower data.image_size or data.limit"
    units: Callable[[P, Sizes], int] = no_units

    def takes(self, role: str) -> bool:
        """Return whether the stage knows this input; ``accept_3`` is one of ``accept_#``."""
        name, _, number = role.rpartition("_")
        per_round = f"{name}_#" if number.isdecimal() else role
        return role in self.inputs or role in self.optional or per_round in self.optional

    def check_inputs(self, given: Iterable[str]) -> None:
        """Raise StageError where a folder is missing, or one is given that the stage does not know."""
        names = list(given)
        missing = [role for role in self.inputs if role not in names]
        unknown = [role for role in names if not self.takes(role)]
        if missing or unknown:
            raise StageError(f"stage {self.name}: inputs {missing} are missing, {unknown} are not known")
