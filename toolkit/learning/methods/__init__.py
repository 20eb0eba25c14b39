"""Methods: what changes in the loss, the classifier and after a stage. One file a method (or a family)."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.learning.catalog import parse_method
from toolkit.learning.methods.base import Method
from toolkit.learning.methods.bic import BiC
from toolkit.learning.methods.bounds import Finetune, Joint
from toolkit.learning.methods.derpp import DERpp
from toolkit.learning.methods.er_ace import ERACE
from toolkit.learning.methods.expanding import DER, MEMO
from toolkit.learning.methods.foster import FOSTER
from toolkit.learning.methods.frozen import NCM, Ridge
from toolkit.learning.methods.icarl import ICaRL
from toolkit.learning.methods.podnet import PODNet
from toolkit.learning.methods.replay import Replay
from toolkit.learning.methods.wa import WA

IMPLEMENTATIONS: dict[str, Callable[..., Method]] = {
    "finetune": Finetune,
    "joint": Joint,
    "replay": Replay,
    "icarl": ICaRL,
    "bic": BiC,
    "wa": WA,
    "podnet": PODNet,
    "der": DER,
    "foster": FOSTER,
    "memo": MEMO,
    "er-ace": ERACE,
    "derpp": DERpp,
    "ncm": NCM,
    "ridge": Ridge,
}
"""What carries out the methods of :data:`toolkit.learning.catalog.METHODS`."""


def build_method(spec: str, *, label_smoothing: float = 0.0) -> Method:
    """The method a spec names.

    Raises:
        UsageError: unknown method or parameter.
    """
    kind, values = parse_method(spec)
    return IMPLEMENTATIONS[kind.name](**values, label_smoothing=label_smoothing)
