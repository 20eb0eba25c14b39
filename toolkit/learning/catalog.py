"""The one table of methods: their parameters, what they learn from, where they come from. No torch: the app reads it.

A method is written like a codec: ``icarl`` or ``icarl:temperature=1``. What each does stands in its own file under
:mod:`toolkit.learning.methods`; a method is that file and one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter, Value, parse_assignments, write_spec

TEMPERATURE = Parameter(float, 2.0, 0.1, 20, help="of the softmax that the old network is imitated in")
CHARGE_WEIGHTS = Parameter(bool, False, help="take the bytes of the added weights out of the memory's budget")


@dataclass(frozen=True)
class MethodKind:
    """One method.

    Attributes:
        name: in specs.
        summary: one line for people.
        source: the paper.
        implementation: ``module:Class`` of its :class:`~toolkit.learning.methods.base.Method`, imported by runs only.
        parameters: its keys.
        exemplars: learns from the memory; False for the bounds.
        everything: sees all earlier classes' training images, as no deployed learner does.
        frozen: trains nothing: a classifier in closed form on the features of a fixed network.
    """

    name: str
    summary: str
    source: str
    implementation: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    exemplars: bool = True
    everything: bool = False
    frozen: bool = False


METHODS: dict[str, MethodKind] = {
    kind.name: kind
    for kind in (
        MethodKind(
            "finetune",
            "new images only, no memory: the lower bound",
            "McCloskey & Cohen, 1989",
            "toolkit.learning.methods.bounds:Finetune",
            exemplars=False,
        ),
        MethodKind(
            "joint",
            "all images of all classes so far: the upper bound",
            "-",
            "toolkit.learning.methods.bounds:Joint",
            exemplars=False,
            everything=True,
        ),
        MethodKind(
            "replay",
            "new images and exemplars alike",
            "Ratcliff, 1990",
            "toolkit.learning.methods.replay:Replay",
        ),
        MethodKind(
            "icarl",
            "distillation, and the nearest class mean decides",
            "Rebuffi et al., CVPR 2017",
            "toolkit.learning.methods.icarl:ICaRL",
            {"temperature": TEMPERATURE},
        ),
        MethodKind(
            "bic",
            "distillation, then two numbers correct the new classes' outputs",
            "Wu et al., CVPR 2019",
            "toolkit.learning.methods.bic:BiC",
            {
                "temperature": TEMPERATURE,
                "held_out": Parameter(float, 0.1, 0.02, 0.5, help="part of the exemplars that only judges the bias"),
            },
        ),
        MethodKind(
            "wa",
            "distillation, then the new classes' weights are scaled to the old ones' norm",
            "Zhao et al., CVPR 2020",
            "toolkit.learning.methods.wa:WA",
            {"temperature": TEMPERATURE},
        ),
        MethodKind(
            "podnet",
            "feature maps are kept alike, cosine classifier with proxies",
            "Douillard et al., ECCV 2020",
            "toolkit.learning.methods.podnet:PODNet",
            {
                "spatial": Parameter(float, 5.0, 0, 100, help="weight of the feature maps' distillation"),
                "flat": Parameter(float, 1.0, 0, 100, help="weight of the pooled features' distillation"),
                "proxies": Parameter(int, 10, 1, 100, help="proxies a class"),
                "scale": Parameter(float, 8.0, 1, 100, help="what cosines are multiplied by"),
            },
        ),
        MethodKind(
            "der",
            "one more network a stage, the earlier ones frozen",
            "Yan et al., CVPR 2021",
            "toolkit.learning.methods.expanding:DER",
            {"charge_weights": CHARGE_WEIGHTS},
        ),
        MethodKind(
            "foster",
            "a second network corrects the first, then both are compressed into one",
            "Wang et al., ECCV 2022",
            "toolkit.learning.methods.foster:FOSTER",
            {
                "temperature": TEMPERATURE,
                "beta": Parameter(float, 0.97, 0, 0.9999, help="how strongly rare classes are favoured"),
            },
        ),
        MethodKind(
            "memo",
            "one more last block a stage, shared early blocks",
            "Zhou et al., ICLR 2023",
            "toolkit.learning.methods.expanding:MEMO",
            {
                "charge_weights": CHARGE_WEIGHTS,
                "shared": Parameter(str, "trained", choices=("trained", "frozen"), help="early blocks after stage one"),
            },
        ),
        MethodKind(
            "er-ace",
            "new images compete with new classes only",
            "Caccia et al., ICLR 2022",
            "toolkit.learning.methods.er_ace:ERACE",
        ),
        MethodKind(
            "derpp",
            "exemplars keep the outputs they once had",
            "Buzzega et al., NeurIPS 2020",
            "toolkit.learning.methods.derpp:DERpp",
            {
                "alpha": Parameter(float, 0.3, 0, 10, help="weight of the stored outputs"),
                "beta": Parameter(float, 0.5, 0, 10, help="weight of the exemplars' labels"),
            },
        ),
        MethodKind(
            "ncm",
            "frozen features, the nearest class mean: seconds a run",
            "Mensink et al., PAMI 2013",
            "toolkit.learning.methods.frozen:NCM",
            frozen=True,
        ),
        MethodKind(
            "ridge",
            "frozen features, random projection and ridge regression: seconds a run",
            "McDonnell et al., NeurIPS 2023",
            "toolkit.learning.methods.frozen:Ridge",
            {"width": Parameter(int, 2000, 0, 20000, help="of the random projection; 0 for the features themselves")},
            frozen=True,
        ),
    )
}


def parse_method(spec: str) -> tuple[MethodKind, dict[str, Value]]:
    """The method a spec names, and all of its parameters' values.

    Raises:
        UsageError: unknown method, parameter or value; the message lists the accepted ones.
    """
    name, _, assignments = spec.partition(":")
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")
    kind = METHODS[name]
    return kind, parse_assignments(name, kind.parameters, assignments)


def canonical_method(spec: str) -> str:
    """The spec with only what differs from the defaults; see :func:`parse_method` for the errors."""
    kind, values = parse_method(spec)
    return write_spec(kind.name, kind.parameters, values)
