"""The table of methods: parameters, training data and sources. Imports no torch, as the app reads it.

A method spec looks like a codec spec: ``icarl`` or ``icarl:temperature=1``. A method consists of one file in
:mod:`toolkit.learning.methods` and one row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter, Value, parse_assignments, write_spec

TEMPERATURE = Parameter(float, 2.0, 0.1, 20, help="softmax temperature of the distillation")
CHARGE_WEIGHTS = Parameter(bool, False, help="charge the bytes of added weights to the memory's budget")


@dataclass(frozen=True)
class MethodKind:
    """One method.

    Attributes:
        name: in specs.
        summary: one line for people.
        source: the paper.
        implementation: ``module:Class`` of its :class:`~toolkit.learning.methods.base.Method`, imported only by runs.
        parameters: by key.
        exemplars: learns from the memory; False for the bounds, and for methods that keep statistics instead.
        everything: sees the training images of all earlier classes, unlike a deployed learner.
        frozen: trains no network: a closed-form classifier on the features of a fixed network.
        trunk: changes or adds layers before the head, so that it needs more than features.
    """

    name: str
    summary: str
    source: str
    implementation: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    exemplars: bool = True
    everything: bool = False
    frozen: bool = False
    trunk: bool = False


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
            "cross entropy on new images and exemplars",
            "Ratcliff, 1990",
            "toolkit.learning.methods.replay:Replay",
        ),
        MethodKind(
            "icarl",
            "distillation, classification by the nearest class mean",
            "Rebuffi et al., CVPR 2017",
            "toolkit.learning.methods.icarl:ICaRL",
            {"temperature": TEMPERATURE},
        ),
        MethodKind(
            "bic",
            "distillation, then a linear correction of the new classes' outputs",
            "Wu et al., CVPR 2019",
            "toolkit.learning.methods.bic:BiC",
            {
                "temperature": TEMPERATURE,
                "held_out": Parameter(float, 0.1, 0.02, 0.5, help="fraction of exemplars held out for the correction"),
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
            "distillation of feature maps, cosine classifier with proxies",
            "Douillard et al., ECCV 2020",
            "toolkit.learning.methods.podnet:PODNet",
            {
                "spatial": Parameter(float, 5.0, 0, 100, help="weight of the distillation of feature maps"),
                "flat": Parameter(float, 1.0, 0, 100, help="weight of the distillation of pooled features"),
                "proxies": Parameter(int, 10, 1, 100, help="proxies per class"),
                "scale": Parameter(float, 8.0, 1, 100, help="scale factor of the cosines"),
            },
            trunk=True,
        ),
        MethodKind(
            "der",
            "one additional network per stage, earlier ones frozen",
            "Yan et al., CVPR 2021",
            "toolkit.learning.methods.expanding:DER",
            {"charge_weights": CHARGE_WEIGHTS},
            trunk=True,
        ),
        MethodKind(
            "foster",
            "a second network corrects the first, then both are compressed into one",
            "Wang et al., ECCV 2022",
            "toolkit.learning.methods.foster:FOSTER",
            {
                "temperature": TEMPERATURE,
                "beta": Parameter(float, 0.97, 0, 0.9999, help="how strongly rare classes are upweighted"),
            },
            trunk=True,
        ),
        MethodKind(
            "memo",
            "one additional last block per stage, shared early blocks",
            "Zhou et al., ICLR 2023",
            "toolkit.learning.methods.expanding:MEMO",
            {
                "charge_weights": CHARGE_WEIGHTS,
                "shared": Parameter(str, "trained", choices=("trained", "frozen"), help="early blocks after stage one"),
            },
            trunk=True,
        ),
        MethodKind(
            "er-ace",
            "new images compete with new classes only",
            "Caccia et al., ICLR 2022",
            "toolkit.learning.methods.er_ace:ERACE",
        ),
        MethodKind(
            "derpp",
            "replay that also matches the exemplars' stored logits",
            "Buzzega et al., NeurIPS 2020",
            "toolkit.learning.methods.derpp:DERpp",
            {
                "alpha": Parameter(float, 0.3, 0, 10, help="weight of the stored outputs"),
                "beta": Parameter(float, 0.5, 0, 10, help="weight of the exemplars' labels"),
            },
        ),
        MethodKind(
            "ncm",
            "frozen features, nearest class mean of the exemplars: seconds per run",
            "Mensink et al., PAMI 2013",
            "toolkit.learning.methods.frozen:NCM",
            frozen=True,
        ),
        MethodKind(
            "ridge",
            "frozen features, random projection and ridge regression on the exemplars: seconds per run",
            "McDonnell et al., NeurIPS 2023",
            "toolkit.learning.methods.frozen:Ridge",
            {"width": Parameter(int, 2000, 0, 20000, help="of the random projection; 0 for none")},
            frozen=True,
        ),
        MethodKind(
            "simplecil",
            "no exemplars: frozen features, mean of all images seen of each class",
            "Zhou et al., IJCV 2024",
            "toolkit.learning.methods.streaming:SimpleCIL",
            exemplars=False,
            frozen=True,
        ),
        MethodKind(
            "slda",
            "no exemplars: frozen features, class means and one covariance of all images seen",
            "Hayes & Kanan, CVPRW 2020",
            "toolkit.learning.methods.streaming:SLDA",
            exemplars=False,
            frozen=True,
        ),
        MethodKind(
            "ranpac",
            "no exemplars: frozen features, random projection and Gram matrix of all images seen",
            "McDonnell et al., NeurIPS 2023",
            "toolkit.learning.methods.streaming:RanPAC",
            {"width": Parameter(int, 2000, 10, 20000, help="of the random projection; its square is kept")},
            exemplars=False,
            frozen=True,
        ),
    )
}


def parse_method(spec: str) -> tuple[MethodKind, dict[str, Value]]:
    """The method of a spec, and the values of all its parameters.

    Raises:
        UsageError: unknown method, parameter or value; the message lists the accepted ones.
    """
    name, _, assignments = spec.partition(":")
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")
    kind = METHODS[name]
    return kind, parse_assignments(name, kind.parameters, assignments)


def canonical_method(spec: str) -> str:
    """The spec with only the values that differ from the defaults; see :func:`parse_method` for the errors."""
    kind, values = parse_method(spec)
    return write_spec(kind.name, kind.parameters, values)
