"""The hyperparameters of a model: their types, bounds, defaults and meanings.

The annotations of `Hyperparameters` give the type, the bounds and the meaning of a value; its
`Traits` give the rest. Validation, conf/config.yaml (and with it --help), conf/schema.json, the
fingerprint, the arrays of pipeline/nn/rates.py, suggestions, the headings of the report and the
model card are derived from this description. Other modules name a hyperparameter only where one of
its values has a special meaning.

`Traits.default` is the value in conf/config.yaml. The default of a field is its neutral value, with
which training is the same as before the field existed. Runs that are older than the field count as
trained with the neutral value, so they keep their meaning and their fingerprint.

To add a hyperparameter, add a field at the end of `Hyperparameters`, use it in pipeline/nn/, test
it, and run `make schema`. CONTRIBUTING.md lists the files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import Field
from pydantic.fields import FieldInfo

from pipeline.selection import SelectBy
from pipeline.validation import annotation, checked, description, metadata


@dataclass(frozen=True)
class Traits:
    """Properties of a hyperparameter other than its type, bounds and meaning."""

    default: Any  # the value in conf/config.yaml
    heading: str = ""  # in tables and charts; "": the name
    has_edge: bool = True  # whether a value outside the tried range may be better
    largest_useful: float = math.inf  # a suggestion goes no further
    always_hashed: bool = False  # in the fingerprint even where it has its neutral value
    own_step: bool = False  # whether values other than the neutral one run other code in a step
    method: str = ""  # in the model card; {} is the value


@checked
@dataclass(frozen=True)
class Hyperparameters:
    """The values that, with the data, determine a model's numbers.

    Raises:
        pydantic.ValidationError: a value has the wrong type or is out of range.
    """

    hidden_size: Annotated[
        int, Field(ge=1, description="H, units of the hidden layer"), Traits(128, heading="H")
    ]
    l2_reg: Annotated[
        float,
        Field(ge=0, description="λ, strength of the L2 penalty λ ΣW1² + λ ΣW2²"),
        Traits(1e-4, heading="λ"),
    ]
    learning_rate: Annotated[
        float,
        Field(gt=0, description="learning rate of the first epoch"),
        Traits(0.1, heading="lr"),
    ]
    learning_rate_decay: Annotated[
        float,
        Field(gt=0, description="factor on the learning rate after each epoch"),
        Traits(0.95, largest_useful=1),
    ]
    batch_size: Annotated[int, Field(ge=1, description="examples per step of SGD"), Traits(100)]
    num_epochs: Annotated[
        int, Field(ge=1, description="passes over the training examples"), Traits(30)
    ]
    weight_std: Annotated[
        Annotated[float, Field(ge=0)] | Literal["he"],
        Field(
            description="standard deviation of the initial weights; he: √(2 / inputs of a layer)"
        ),
        Traits(0.1),
    ]
    seed: Annotated[
        int,
        Field(ge=0, description="seed of the initial weights and of the order of the examples"),
        Traits(0, has_edge=False),
    ]
    dtype: Annotated[
        Literal["float32", "float64"],
        Field(description="float32 or float64, the type of weights and features"),
        Traits("float32", has_edge=False),
    ]
    momentum: Annotated[
        float,
        Field(ge=0, lt=1, description="μ of v ← μ v − η dW, W ← W + v; 0 is plain SGD"),
        Traits(0, always_hashed=True, own_step=True, method="momentum {}"),
    ] = 0
    dropout: Annotated[
        float,
        Field(ge=0, lt=1, description="share of hidden units that each training step turns off"),
        Traits(0, always_hashed=True, own_step=True, method="dropout {}"),
    ] = 0
    flip: Annotated[
        bool,
        Field(
            description="whether to mirror training images left to right, each with probability "
            "0.5, anew in every epoch"
        ),
        Traits(False, has_edge=False, always_hashed=True, method="randomly mirrored images"),
    ] = False
    select_by: Annotated[
        SelectBy,
        Field(
            description="val_acc, val_loss or balanced_acc (mean over the classes): chooses the "
            "best epoch and the best model"
        ),
        Traits("val_acc", has_edge=False),
    ] = "val_acc"

    label_smoothing: Annotated[
        float,
        Field(ge=0, lt=1, description="ε, share of each label that is spread over all classes"),
        Traits(0, own_step=True, method="label smoothing {}"),
    ] = 0.0
    nesterov: Annotated[
        bool,
        Field(description="whether momentum is Nesterov's: W ← W + μ v − η dW, after v is updated"),
        Traits(False, has_edge=False, own_step=True, method="Nesterov's momentum"),
    ] = False
    shift: Annotated[
        int,
        Field(ge=0, description="pixels by which training images are shifted at most, at random"),
        Traits(0, method="images shifted by up to {} pixels"),
    ] = 0
    schedule: Annotated[
        Literal["constant", "cosine"],
        Field(
            description="constant or cosine (falls to 0 over num_epochs): a factor on the learning "
            "rate"
        ),
        Traits("constant", has_edge=False, method="a {} learning rate schedule"),
    ] = "constant"
    warmup_epochs: Annotated[
        int,
        Field(ge=0, description="first epochs, over which the learning rate rises linearly"),
        Traits(0, method="{} epochs of warm-up"),
    ] = 0
    ema: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="β of the exponential average of the weights over the steps, which is "
            "evaluated and stored in place of the weights; 0: no average",
        ),
        Traits(0, own_step=True, method="an exponential average of the weights ({})"),
    ] = 0.0
    mixup: Annotated[
        float,
        Field(
            ge=0,
            description="α of mixup: each mini-batch is mixed with itself in a share from "
            "Beta(α, α); 0: not mixed",
        ),
        Traits(0, method="mixup {}"),
    ] = 0.0

    @property
    def kind(self) -> tuple[int | bool, ...]:
        """Equal for models that can share a stack: the hidden size, and the code of a step."""
        used = (
            getattr(self, name) != each.neutral
            for name, each in HYPERPARAMETERS.items()
            if each.traits.own_step
        )
        return self.hidden_size, *used

    @property
    def batches(self) -> tuple[int, int, bool, int, float]:
        """Equal for jobs that share every mini-batch: one population."""
        return self.batch_size, self.seed, self.flip, self.shift, self.mixup


@dataclass(frozen=True)
class Hyperparameter:
    """The description of one hyperparameter, in the form that other modules read."""

    name: str
    type: type  # int, float, bool or str
    label: str  # its meaning
    traits: Traits
    minimum: float  # ≥ this, or > it if `is_open_below`; -inf: no bound
    limit: float  # < this; inf: no bound
    neutral: Any  # the value of runs that are older than the hyperparameter; or MISSING
    words: tuple[str, ...] = ()  # texts that are allowed in place of a number

    @property
    def heading(self) -> str:
        """The name in tables and charts."""
        return self.traits.heading or self.name

    def is_hashed(self, value: Any) -> bool:
        """Whether a value is part of the fingerprint."""
        return self.traits.always_hashed or self.neutral is MISSING or value != self.neutral


def _describe(name: str, neutral: Any) -> Hyperparameter:
    kind = get_args(annotation(Hyperparameters, name))[0]
    info, traits = metadata(Hyperparameters, name)
    words: tuple[str, ...] = ()
    if get_origin(kind) in (Union, UnionType):
        number, literal = get_args(kind)
        (kind, info), words = get_args(number), get_args(literal)
    assert isinstance(info, FieldInfo) and isinstance(traits, Traits)
    minimum, limit = -math.inf, math.inf
    for bound in info.metadata:
        match bound:
            case annotated_types.Ge(ge=value) | annotated_types.Gt(gt=value):
                minimum = value  # type: ignore[assignment]
            case annotated_types.Lt(lt=value):
                limit = value  # type: ignore[assignment]
    return Hyperparameter(
        name,
        kind if isinstance(kind, type) else str,
        description(Hyperparameters, name),
        traits,
        minimum,
        limit,
        neutral,
        words,
    )


HYPERPARAMETERS: Mapping[str, Hyperparameter] = MappingProxyType(
    {field.name: _describe(field.name, field.default) for field in fields(Hyperparameters)}
)
