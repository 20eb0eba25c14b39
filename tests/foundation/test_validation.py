"""Refused configurations: every problem, with its given value exactly once."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field, field_validator

from toolkit.foundation.errors import UsageError
from toolkit.foundation.sizes import parse_size
from toolkit.foundation.validation import validated


class Order(BaseModel):
    count: int = Field(1, ge=1)
    budget: str = "1KiB"

    @field_validator("budget")
    @classmethod
    def _is_size(cls, budget: str) -> str:
        parse_size(budget, image_bytes=1)
        return budget


def test_the_given_value_appears_once() -> None:
    with pytest.raises(UsageError) as caught:
        validated(Order, {"count": 0, "budget": "0"})
    accepted = "one byte or more, such as 262144, 256KiB, 1.5MB or 20img (raw images per class)"
    count, budget = str(caught.value).split("; ")
    assert count == "count: Input should be greater than or equal to 1, got 0"
    assert budget == f"budget: a size must be {accepted}, got '0'"
