"""The optimizers of the training loop, and what is saved of them: torch's AdamW and Adam, and AdamW with moments in 8 bit.

Moments in 8 bit are bitsandbytes's: codes of 256 levels and a scale per block of 256 values (Dettmers et al., "8-bit
Optimizers via Block-wise Quantization", arXiv:2110.02861). Two bytes per weight stand in place of eight. Weights of fewer
than 4,096 values keep moments in float32.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from engine.errors import StageError
from engine.training.plan import TrainPlan

if TYPE_CHECKING:
    from engine.config import Config

Group = dict[str, Any]
"""An optimizer's parameters under ``params``, and how they are stepped."""
EIGHT_BIT: Final = "adamw8bit"
ABSENT: Final = (
    f"{EIGHT_BIT} needs bitsandbytes; install it with `pip install 'hardcase[big]'`, or give adamw"
)
BLOCK: Final = 256
FEWEST: Final = 4096
"""Values of a weight from which on its moments are quantized."""
TABLES: Final = {"qmap1": "dynamic", "qmap2": "udynamic"}
"""The tables of codes in a quantized state, and their names in bitsandbytes."""
STEP_BYTES: Final = 20
"""Bytes per value of the largest weight that a step in 8 bit works with on a CPU; on a GPU one kernel does all in place."""


def optimizer_problems(config: Config, device: str) -> list[str]:
    """Return a message for each section whose optimizer needs a library that is absent, or another ``device``."""
    asked = [name for name in ("vae", "denoiser") if getattr(config, name).optimizer == EIGHT_BIT]
    if device == "mps":
        return [f"{name}.optimizer: {EIGHT_BIT} does not run on mps; give adamw" for name in asked]
    if importlib.util.find_spec("bitsandbytes") is not None:
        return []
    return [f"{name}.optimizer: {ABSENT}" for name in asked]


def in_groups(parameters: Iterable[nn.Parameter], plan: TrainPlan) -> list[Group]:
    """Return the parameters as an optimizer takes them; no decay on biases, norms and gains (1-d tensors).

    A parameter with an attribute ``lr_scale`` learns that much faster: a gate that opens from 0 needs it.
    """
    chosen = list(parameters)
    groups: list[Group] = [
        {
            "params": [p for p in chosen if (p.ndim > 1) == decays and getattr(p, "lr_scale", 1.0) == scale],
            "weight_decay": plan.weight_decay if decays else 0.0,
            "lr_scale": scale,
        }
        for scale in sorted({getattr(p, "lr_scale", 1.0) for p in chosen})
        for decays in (True, False)
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    groups: Sequence[Group], plan: TrainPlan, owned: Callable[[nn.Parameter], bool] = lambda _: True
) -> torch.optim.Optimizer:
    """Return the plan's optimizer for the parameters that this worker owns. AdamW and Adam step in one fused pass."""
    own = [group | {"params": [p for p in group["params"] if owned(p)]} for group in groups]
    own = [group for group in own if group["params"]]
    if plan.optimizer == EIGHT_BIT:
        _lay_out_plainly(groups)  # those of other workers too
        return _in_8_bit(own, plan)
    kind = torch.optim.Adam if plan.optimizer == "adam" else torch.optim.AdamW
    return kind(own, lr=plan.lr, betas=plan.betas, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group, times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def moment_bytes(parameters: Iterable[nn.Parameter], optimizer: str) -> int:
    """Return the bytes of both moments of every parameter: float32, or codes and scales."""
    sizes = [p.numel() for p in parameters]
    eight = optimizer == EIGHT_BIT
    return sum(2 * (size + 4 * -(-size // BLOCK)) if eight and size >= FEWEST else 8 * size for size in sizes)


def step_bytes(parameters: Iterable[nn.Parameter], optimizer: str) -> int:
    """Return the bytes that a step on a CPU works with beside weights, gradients and moments."""
    sizes = [p.numel() for p in parameters if p.numel() >= FEWEST]
    return STEP_BYTES * max(sizes, default=0) if optimizer == EIGHT_BIT else 0


def saved_moments(optimizer: torch.optim.Optimizer, groups: Sequence[Group]) -> dict[str, Tensor]:
    """Return {"<parameter>/<name>": tensor} of what the optimizer keeps; a parameter is its number in ``groups``.

    Quantized moments go without the table of their codes, which is a constant.
    """
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, parameter in enumerate(_parameters(groups))
        for name, value in optimizer.state.get(parameter, {}).items()
        if name not in TABLES
    }


def load_moments(
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    saved: Iterable[tuple[str, Callable[[], Tensor]]],
) -> None:
    """Take up what ``saved_moments`` returned, of the parameters that this optimizer steps, one tensor at a time.

    Moments get their parameter's layout in memory: a fused step walks through both side by side.
    """
    own = _parameters(optimizer.param_groups)
    places = {id(parameter): place for place, parameter in enumerate(own)}
    parameters = _parameters(groups)
    state: dict[int, dict[str, Any]] = {}
    for key, read in saved:
        number, _, name = key.partition("/")
        parameter = parameters[int(number)]
        if id(parameter) not in places:
            continue
        value = read()
        same = value.shape == parameter.shape
        mine = torch.empty_like(parameter, dtype=value.dtype) if same else torch.empty_like(value)
        state.setdefault(places[id(parameter)], {})[name] = mine.copy_(value)
    tables = getattr(optimizer, "name2qmap", None)
    if tables is None:
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    for place, found in state.items():
        parameter = own[place]
        on_device = {name: value.to(parameter.device) for name, value in found.items()}
        if "absmax1" in found:
            on_device |= {name: tables[kind].to(parameter.device) for name, kind in TABLES.items()}
        optimizer.state[parameter] = on_device | {"step": int(found["step"])}


def _parameters(groups: Sequence[Group]) -> list[nn.Parameter]:
    return [parameter for group in groups for parameter in group["params"]]


def _lay_out_plainly(groups: Sequence[Group]) -> None:
    """Do what the first step of bitsandbytes would do, so that a resumed training begins alike."""
    for parameter in _parameters(groups):
        parameter.data = parameter.data.contiguous()


def _in_8_bit(groups: Sequence[Group], plan: TrainPlan) -> torch.optim.Optimizer:
    """Return bitsandbytes's AdamW.

    Raises:
        StageError: the library is absent, as it can be on a node of a cluster.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise StageError(f"{plan.name}: {ABSENT} (on every node of a cluster)") from error
    made: torch.optim.Optimizer = AdamW8bit(groups, lr=plan.lr, betas=plan.betas, min_8bit_size=FEWEST)
    return made
