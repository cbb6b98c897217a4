"""The most bytes of tensors alive at a time while a computation runs, on tensors that hold nothing.

torch's ``FakeTensorMode`` runs every operation on shapes, types and strides alone. What autograd keeps for the backward
pass, what gradient checkpointing keeps instead, and what autocast copies comes and goes as on real tensors.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.training import loop
from engine.training.plan import TrainEnv


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all storages that operations make while it is open, each until its last tensor is gone.

    Tensors made before are not counted. What a kernel takes and gives back within itself (the workspace of a convolution) is
    not seen.

    Attributes:
        held: bytes alive now.
        peak: the most so far, bytes.
    """

    def __init__(self) -> None:
        """Count from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: int = 0
        self.peak: int = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it made."""
        given = {id(storage) for storage in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given and id(storage) not in self._known:
                self._count(storage)
        return made

    def _count(self, storage: Any) -> None:
        place, size = id(storage), int(storage.nbytes())

        def gone(_: weakref.ref[Any]) -> None:
            del self._known[place]
            self.held -= size

        self._known[place] = weakref.ref(storage, gone)
        self.held += size
        self.peak = max(self.peak, self.held)


def like_a_gpu(*modules: nn.Module) -> None:
    """Let norms take float32 under autocast, as CUDA's autocast has it; on a CPU they take what comes.

    Fake tensors stand for tensors on a CPU, also for a run on a GPU: torch cannot run a fake backward pass on a GPU that is
    not there. The rest of autocast's table is the same on both for the networks that are planned.
    """
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn.GroupNorm | nn.LayerNorm):
                part.register_forward_pre_hook(_float32_under_autocast)


def _float32_under_autocast(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(v.float() for v in given) if torch.is_autocast_enabled("cpu") else given


def peak_of(work: Callable[[], Any]) -> int:
    """Return the most bytes that ``work`` holds at a time in tensors of its own; call it under fake tensors."""
    live = LiveMemory()
    with live:
        work()
    return live.peak


@contextlib.contextmanager
def fake_tensors() -> Iterator[None]:
    """Let every tensor that is made be a fake one. Random states stay as they were."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with torch.random.fork_rng(devices=[]), FakeTensorMode():
        yield


@contextlib.contextmanager
def real_tensors() -> Iterator[None]:
    """Let tensors be real again inside ``fake_tensors``: some networks read values while they are built."""
    from torch._subclasses.fake_tensor import unset_fake_temporarily

    with unset_fake_temporarily():
        yield


def faked(module: nn.Module) -> nn.Module:
    """Return a module that was built on torch's device ``meta`` with fake tensors in place of its parameters and buffers."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            fake = torch.empty(value.shape, dtype=value.dtype)
            part._parameters[name] = nn.Parameter(fake, requires_grad=value.requires_grad)
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return module


def autocast(precision: str) -> contextlib.AbstractContextManager[None]:
    """The training loop's autocast on fake tensors, which stand for tensors on a CPU."""
    return loop.autocast(TrainEnv(precision=precision))


def bytes_of(tensors: Any) -> int:
    """Return the bytes of some tensors (any nesting), shared storage counted once."""
    storages = {id(storage): storage for storage in _storages(tensors)}
    return sum(int(storage.nbytes()) for storage in storages.values())


def weights_of(*modules: nn.Module) -> int:
    """Return the bytes of the parameters and buffers of modules."""
    return bytes_of([[*module.parameters(), *module.buffers()] for module in modules])


def _storages(values: Any) -> list[Any]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]
