"""torch.compile that never ends a training: what the compiler cannot do runs uncompiled, and one line says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from engine.artifacts.secrets import masking_logger

LOG = masking_logger("hardcase.compile")


@dataclass
class Compiler:
    """A backend of torch.compile: the library's own, and the graph as it is where that fails."""

    field_name: str
    compile: Callable[[Any, list[Any]], Any]
    failed: bool = field(init=False, default=False)

    def __call__(self, graph: Any, examples: list[Any]) -> Any:
        """Return the compiled graph, or its plain forward; after the first failure nothing is tried again."""
        if not self.failed:
            try:
                return self.compile(graph, examples)
            except Exception as error:
                self.say(error)
        return graph.forward

    def say(self, error: BaseException) -> None:
        """Say once that the training goes on uncompiled."""
        if not self.failed:
            self.failed = True
            lines = str(error).strip().splitlines()
            reason = " ".join((lines[0] if lines else type(error).__name__).split())[:160]
            LOG.warning(
                "%s: true, but torch.compile failed here (%s); training goes on uncompiled, which is slower and no less "
                "right. It needs a C++ compiler (g++) and, on a GPU, triton; set it to false to do without this line",
                self.field_name,
                reason,
            )


def compile_if_possible(model: nn.Module, field_name: str) -> None:
    """Let torch compile ``model`` at its first call; ``field_name`` is the config key that asked for it."""
    from torch._dynamo import lookup_backend

    compiler = Compiler(field_name, lookup_backend("inductor"))
    try:
        model.compile(backend=compiler)
    except RuntimeError as error:  # a Python or a system that it does not know
        compiler.say(error)
