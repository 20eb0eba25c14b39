"""Published recipes: what they ask of a pilot."""

from __future__ import annotations

import pytest

from toolkit.data.scenario import class_order_from_seed
from toolkit.foundation.errors import UsageError
from toolkit.learning.recipes import RECIPES, published
from toolkit.pilots.config import make_pilot_config
from toolkit.training.loop import Recipe


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_a_pilots_configuration(name: str) -> None:
    config = make_pilot_config(dataset="demo", codec="raw", budget="20img", **RECIPES[name].choices)
    assert config.method == name.removeprefix("pycil-")
    assert config.network == "resnet32"
    assert (config.initial, config.increment, config.batch_size) == (10, 10, 128)


def test_icarls_learning_rate_falls_where_it_was_published_to() -> None:
    choices = published("pycil-icarl").choices
    later = Recipe(170, lr=0.1, schedule="milestones", milestones=choices["milestones"])  # type: ignore[arg-type]
    assert [later.lr_at(epoch) for epoch in (79, 80, 119, 120)] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    first = Recipe(200, lr=0.1, schedule="milestones", milestones=choices["initial_milestones"])  # type: ignore[arg-type]
    assert [first.lr_at(epoch) for epoch in (59, 60, 120, 170)] == pytest.approx([0.1, 0.01, 0.001, 0.0001])
    assert class_order_from_seed(100, published("pycil-icarl").seed)[:5] == [68, 56, 78, 8, 23]


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown recipe 'magic': choose one of pycil-finetune"):
        published("magic")
