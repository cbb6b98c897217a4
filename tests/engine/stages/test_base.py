"""What every stage shares: params as JSON and back, inputs by role, and a list of stages that is true to itself."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from engine.config import Config, OptimConfig, parse_config
from engine.errors import StageError
from engine.parts.context import StageContext
from engine.stages import NAMES, base, every_stage, find, run_stage
from engine.stages.outputs import meaning
from tests.fakes import make_context
from tests.integration.tiny import tiny_config

OWN_ROLES = {"predictions", "hard_cases", "reference", "calibration", "init", "history", "seed"}
"""Roles that are not called by the stage whose folder plays them."""


class Params(base.Params):
    """A section of which ``lr`` is not read, a number, and two settings that may hold their default."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"optim": frozenset({"lr", "checkpoint_every"})}
    optional: ClassVar[frozenset[str]] = frozenset({"most", "optim.grad_clip"})

    optim: OptimConfig
    number: int
    most: int | None = None
    always: int | None = None


def nothing(_context: StageContext, _params: Params) -> None:
    """Fill nothing."""


STAGE = base.Stage(
    name="example",
    params=Params,
    run=nothing,
    files={"a.json": "a"},
    inputs=("images", "split"),
    optional=("init", "accept_#"),
)


def test_what_a_stage_does_not_read_is_left_out() -> None:
    tree = Params(optim=OptimConfig(steps=3), number=1).to_json()
    assert set(tree["optim"]) == set(OptimConfig.model_fields) - {"lr", "checkpoint_every", "grad_clip"}
    assert tree["optim"]["steps"] == 3
    other = Params(optim=OptimConfig(steps=3, lr=0.5, checkpoint_every=7), number=1)
    assert other.to_json() == tree, "another value of it is the same work"


def test_an_optional_field_is_left_out_while_it_holds_its_default() -> None:
    plain = Params(optim=OptimConfig(), number=1).to_json()
    assert "most" not in plain and "grad_clip" not in plain["optim"]
    assert plain["always"] is None, "others stay, set or not"
    tree = Params(optim=OptimConfig(grad_clip=0.5), number=1, most=0).to_json()
    assert (tree["most"], tree["optim"]["grad_clip"]) == (0, 0.5), "0 is set"
    off = Params(optim=OptimConfig(grad_clip=None), number=1)
    assert Params.from_json(off.to_json()) == off, "None is set too where it is not the default"


def test_json_leads_back_to_equal_params() -> None:
    params = Params(optim=OptimConfig(steps=3, grad_clip=2.0), number=1, most=4, always=5)
    assert Params.from_json(json.loads(json.dumps(params.to_json()))) == params
    unread = Params(optim=OptimConfig(steps=3, lr=0.5), number=1)
    back = Params.from_json(unread.to_json())
    assert back.optim.lr == OptimConfig().lr, "what is not read has its default"
    assert back.to_json() == unread.to_json()


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"numbre": 1}, "numbre"), ({"optim": {"stpes": 1}}, "optim.stpes"), ({"number": "many"}, "number")],
)
def test_wrong_json_is_refused(changes: dict[str, Any], where: str) -> None:
    tree = Params(optim=OptimConfig(), number=1).to_json()
    with pytest.raises(ValidationError) as caught:
        Params.from_json(tree | changes)
    assert [".".join(map(str, error["loc"])) for error in caught.value.errors()] == [where]


def test_params_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Params(optim=OptimConfig(), number=1).number = 2  # type: ignore[misc]


def test_inputs_are_checked_by_role() -> None:
    STAGE.check_inputs(["split", "images"])
    STAGE.check_inputs(["images", "split", "init", "accept_1", "accept_12"])
    with pytest.raises(
        StageError, match=r"stage example: inputs \['split'\] are missing, \[\] are not known"
    ):
        STAGE.check_inputs(["images"])
    with pytest.raises(StageError, match=r"\[\] are missing, \['judge'\] are not known"):
        STAGE.check_inputs(["images", "split", "judge"])
    with pytest.raises(StageError, match=r"\['images', 'split'\] are missing, \['vae'\] are not known"):
        STAGE.check_inputs(["vae"])


@pytest.mark.parametrize(
    ("role", "known"),
    [
        ("images", True), ("init", True), ("accept_3", True), ("accept_10", True), ("accept", False),
        ("accept_", False), ("accept_x", False), ("accept_-1", False), ("init_1", False), ("images_1", False),
        ("_1", False), ("", False),
    ],
)  # fmt: skip
def test_one_role_stands_for_every_round(role: str, known: bool) -> None:
    assert STAGE.takes(role) is known


def test_a_map_has_chunks_of_thirty_two() -> None:
    assert [base.Sizes.chunks(n) for n in (0, 1, 32, 33, 180)] == [0, 1, 1, 2, 6]


def test_a_worker_reads_json_and_refuses_what_the_stage_does_not_know(tmp_path: Path) -> None:
    inputs = {"images": tmp_path, "split": tmp_path}
    with pytest.raises(StageError, match=r"stage vae: inputs \[\] are missing, \['index'\] are not known"):
        run_stage("vae", make_context(tmp_path / "out", {**inputs, "index": tmp_path}), {})
    with pytest.raises(ValidationError):
        run_stage("vae", make_context(tmp_path / "out", inputs), {"vae": {}, "seed": 0})
    with pytest.raises(KeyError, match="vea"):
        run_stage("vea", make_context(tmp_path / "out", inputs), {})


def module_of(stage: base.Stage[Any]) -> ModuleType:
    return importlib.import_module(f"engine.stages.{stage.name}")


def test_the_list_of_stages_is_the_modules_of_the_folder() -> None:
    folder = Path(base.__file__).parent
    assert sorted(NAMES) == sorted(
        p.stem for p in folder.glob("*.py") if p.stem not in ("__init__", "base", "outputs")
    )
    assert [stage.name for stage in every_stage()] == list(NAMES)
    with pytest.raises(KeyError, match="base"):
        find("base")


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_says_what_it_is(name: str) -> None:
    stage = find(name)
    module = module_of(stage)
    assert (stage.name, stage.run, stage.params) == (name, module.run, module.Params)
    assert (module.__doc__ or "").startswith(f"Stage ``{name}``: ")
    assert stage.files and all(meaning(output) for output in stage.files)
    assert issubclass(stage.params, base.Params) and stage.params is not base.Params
    assert stage.params.__doc__ != base.Params.__doc__
    assert stage.version >= 1


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_stages_that_come_before_or_roles_with_names_of_their_own(name: str) -> None:
    stage = find(name)
    roles = [role.removesuffix("_#") for role in (*stage.inputs, *stage.optional)]
    assert len(set(roles)) == len(roles)
    assert {role for role in roles if role not in NAMES} <= OWN_ROLES
    if stage.foundation:
        earlier = [find(n) for n in NAMES[: NAMES.index(name)]]
        assert set(stage.inputs) <= {other.name for other in earlier if other.foundation}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_of_the_key_is_a_field(name: str) -> None:
    """A name that was mistyped would leave nothing out, and change every key."""
    params = find(name).params
    for path in params.optional:
        assert default_at(params, path) is not PydanticUndefined
    for section, keys in params.unread.items():
        assert keys <= set(params.model_fields[section].annotation.model_fields)  # type: ignore[union-attr]


def default_at(params: type[base.Params], path: str) -> Any:
    """The default of a field, ``section.key`` for one inside a section."""
    field: Any = None
    model: Any = params
    for key in path.split("."):
        field = model.model_fields[key]
        model = field.annotation
    return field.get_default(call_default_factory=True)


FOUNDATION = [name for name in NAMES if find(name).foundation and name != "images"]


@pytest.mark.parametrize("name", FOUNDATION)
def test_a_stage_of_the_foundation_needs_a_config_alone(name: str, tmp_path: Path) -> None:
    stage = find(name)
    params = stage.params.of(tiny_config(str(tmp_path)))
    tree = json.loads(json.dumps(params.to_json(), allow_nan=False))
    assert stage.params.from_json(tree) == params
    sizes = base.Sizes(images=180, used=180, train=72, held=72, samples=40)
    assert stage.units(params, sizes) >= 0


@pytest.mark.parametrize(
    ("tree", "wanted", "unwanted"),
    [
        ({}, {"vae", "latents", "denoiser", "judge", "index"}, {"gan", "likelihood"}),
        ({"synthesis": {"generator": "dcgan"}}, {"gan", "judge"}, {"vae", "latents", "denoiser"}),
        ({"loop": {"arms": ["hard", "dcgan"]}}, {"gan", "vae", "denoiser"}, {"likelihood"}),
        ({"synthesis": {"generator": "classical"}}, {"judge", "index"}, {"vae", "denoiser", "gan"}),
        (
            {"vae": {"kind": "identity", "downsample": 1}, "evaluation": {"likelihood": 8}},
            {"likelihood", "vae"},
            {"gan"},
        ),
    ],
)
def test_a_config_wants_the_parts_it_uses(tree: dict[str, Any], wanted: set[str], unwanted: set[str]) -> None:
    config: Config = parse_config(tree)
    found = {stage.name for stage in every_stage() if stage.foundation and stage.wanted(config)}
    assert wanted <= found
    assert not unwanted & found
