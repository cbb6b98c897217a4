"""Moments and average of the weights, shared out among the workers of a training: ZeRO stage 1.

Every worker holds all weights and gradients. Of each weight one worker alone, its owner, keeps the moments and the average;
it makes the step and sends the others the result (Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion
Parameter Models", arXiv:1910.02054). A step is that of workers which all keep everything, bit by bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.training.checkpoints import learned_tensors
from engine.training.plan import TrainEnv
from engine.training.workers import buckets, together


class Shares:
    """Who owns which parameter; where nothing is shared out every worker owns all, and no method waits for another.

    All workers of a training call the same methods in the same order.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], env: TrainEnv) -> None:
        """Deal the trained ``parameters`` out where ``env`` asks for it and each worker gets one."""
        self.shared = env.shares_state and env.world > 1 and len(parameters) >= env.world
        self.is_main, self.device = env.is_main, torch.device(env.device)
        self.parts = deal(parameters, env.world) if self.shared else [list(parameters)]
        self._own = {id(parameter) for parameter in self.parts[env.rank if self.shared else 0]}

    def owns(self, parameter: nn.Parameter) -> bool:
        """Whether this worker keeps the parameter's moments and average, and steps it."""
        return id(parameter) in self._own

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Return those of ``learned_tensors(model)`` that this worker owns; buffers are the main worker's."""
        parameters = dict(model.named_parameters(remove_duplicate=False))
        return {
            name: value
            for name, value in learned_tensors(model).items()
            if (self.owns(parameters[name]) if name in parameters else self.is_main or not self.shared)
        }

    def spread(self) -> None:
        """Give every worker the values that each parameter has at its owner."""
        if not self.shared:
            return
        with torch.no_grad():
            for owner, part in enumerate(self.parts):
                for bucket in buckets(part):
                    together(bucket, partial(dist.broadcast, src=owner))

    def gathered(self, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what all workers own, on the main one, in its machine's memory; elsewhere nothing."""
        if not self.shared:
            return dict(own)
        if not self.is_main:
            dist.send_object_list([list(own)], dst=0, device=self.device)
            for value in own.values():
                dist.send_object_list([value.detach().cpu()], dst=0, device=self.device)
            return {}
        found = dict(own)
        for source in range(1, len(self.parts)):
            names: list[list[str]] = [[]]
            dist.recv_object_list(names, src=source, device=self.device)
            for name in names[0]:
                box: list[Tensor] = [torch.empty(0)]
                dist.recv_object_list(box, src=source, device=self.device)
                found[name] = box[0]
        return found

    def any_of_us(self, answer: bool) -> bool:
        """Return whether ``answer`` is true on a worker, where a checkpoint needs all of them; else the own answer."""
        if not self.shared:
            return answer
        told = torch.tensor(int(answer), device=self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return bool(told)

    @contextlib.contextmanager
    def averaged(self, model: nn.Module, average: Mapping[str, Tensor]) -> Iterator[None]:
        """Give the model its averaged weights for a while; ``average`` holds its own meanwhile: neither is copied."""
        state = model.state_dict()
        values = [(state[name], mean) for name, mean in average.items()]
        _exchange(values)
        self.spread()
        try:
            yield
        finally:
            _exchange(values[::-1])  # backwards, for parameters that go by two names
            self.spread()

    def take(self, model: nn.Module, average: Mapping[str, Tensor]) -> None:
        """Give the model its averaged weights for good."""
        with torch.no_grad():
            state = model.state_dict()
            for name, mean in average.items():
                state[name].copy_(mean)
        self.spread()


def deal(parameters: Sequence[nn.Parameter], world: int) -> list[list[nn.Parameter]]:
    """Return the parameters of each of ``world`` workers: the largest first, each to the one that has the fewest bytes.

    Within a part they stand in the order given.
    """
    held = [0] * world
    owner: dict[int, int] = {}
    for place in sorted(range(len(parameters)), key=lambda place: (-parameters[place].nbytes, place)):
        owner[place] = held.index(min(held))
        held[owner[place]] += parameters[place].nbytes
    return [[p for place, p in enumerate(parameters) if owner[place] == rank] for rank in range(world)]


def _exchange(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Exchange the values of two tensors of each pair, in place and one pair at a time."""
    with torch.no_grad():
        for first, second in pairs:
            kept = first.clone()
            first.copy_(second)
            second.copy_(kept)
