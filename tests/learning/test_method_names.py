"""Methods by name."""

from __future__ import annotations

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.learning.catalog import METHODS, canonical_method, parse_method
from toolkit.learning.methods import build_method


def test_every_method_named_is_implemented_with_the_parameters_named() -> None:
    for name, kind in METHODS.items():
        method = build_method(name)
        for key, parameter in kind.parameters.items():
            assert getattr(method, key) == parameter.default


def test_a_spec_is_canonical_when_only_what_differs_is_written() -> None:
    assert canonical_method("icarl:temperature=2") == "icarl"
    assert canonical_method("der:charge_weights=yes") == "der:charge_weights=yes"
    assert canonical_method("derpp:beta=1, alpha=0.1") == "derpp:alpha=0.1,beta=1"
    assert build_method("bic:held_out=0.2").held_out == 0.2  # type: ignore[attr-defined]
    assert parse_method("joint")[0].everything


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("magic", "unknown method 'magic': choose one of finetune, joint, replay, icarl"),
        ("icarl:heat=2", "icarl has no key 'heat': its keys are temperature"),
        ("replay:x=1", "its keys are none"),
        ("icarl:temperature=hot", r"temperature must be 0.1..20, got 'hot'"),
        ("icarl:temperature", "needs a value"),
    ],
)
def test_unknown_methods_and_parameters_are_refused_with_the_accepted_ones(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_method(spec)
