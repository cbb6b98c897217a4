"""What every section shares: strict, frozen, unknown keys refused; and how any part is trained."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import to_jsonable_python

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Steps = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0.0)]
Widths = Annotated[list[Annotated[int, Field(ge=8)]], Field(min_length=1)]

Seed = Annotated[int, Field(ge=0)]


def class_name(value: Any) -> Any:
    """Return a class as YAML gave it as text: a whole number becomes its digits, other values are left to the schema.

    Raises:
        ValueError: YAML reads the name as a truth value or a fraction, so that its spelling is lost.
    """
    if isinstance(value, bool):
        raise ValueError(
            f"YAML reads a class written {'yes, on or true' if value else 'no, off or false'} as a truth value; quote it"
        )
    if isinstance(value, float):
        raise ValueError(f"YAML reads the class {value} as a number; quote it")
    return str(value) if isinstance(value, int) else value


def batch_of_several(why: str) -> BeforeValidator:
    """Return a check that refuses a batch of one image, and says why a part cannot be trained with it."""

    def check(value: Any) -> Any:
        if value == 1 and isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f"is 1, but {why}; give 2 or more")
        return value

    return BeforeValidator(check)


NORMALISED_BATCH = batch_of_several(
    "batch normalisation compares the images of a batch and one alone has no spread"
)


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values never silently converted between kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return {key: default, as JSON} of the keys that need not be given."""
        found = {
            name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if not field.is_required()
        }
        return {name: to_jsonable_python(value) for name, value in found.items()}


class OptimConfig(Section):
    """How a part is trained: AdamW with a one-cycle learning rate unless said otherwise."""

    moments_in_8_bit: ClassVar[bool] = False

    steps: Steps = Field(500, description="optimizer steps")
    batch_size: Steps = Field(32, description="images per step, over all workers")
    lr: Rate = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.01, description="decoupled weight decay")
    optimizer: Literal["adamw", "adam", "adamw8bit"] = Field(
        "adamw",
        description="adam: weight decay inside the gradient; adamw8bit: moments in 8 bit, for a big vae or denoiser",
    )
    lr_schedule: Literal["one_cycle", "cosine", "constant"] = Field(
        "one_cycle", description="learning-rate schedule"
    )
    grad_clip: Annotated[float, Field(gt=0.0)] | None = Field(
        1.0, description="largest gradient norm; null: no clipping"
    )
    checkpoint_every: Steps = Field(200, description="steps between checkpoints a killed run resumes from")

    @model_validator(mode="after")
    def _optimizer_fits(self) -> OptimConfig:
        if self.optimizer == "adamw8bit" and not self.moments_in_8_bit:
            raise ValueError("optimizer: adamw8bit is for vae and denoiser; give adamw or adam")
        return self
