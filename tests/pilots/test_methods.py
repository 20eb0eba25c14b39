"""Every method in three tiny stages: its result, its budget, and resuming after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.learning.catalog import METHODS
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.disk import smallest_bytes
from toolkit.memory.store import BudgetTooSmall, ExemplarMemory
from toolkit.pilots.checkpoint import Checkpoint
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.foreground import run_pilot, run_seeds
from toolkit.pilots.results import reproducible
from toolkit.training.backbones import build_backbone


def config(**changes: Any) -> PilotConfig:
    values: dict[str, Any] = {
        "dataset": "demo",
        "size": 16,
        "initial": 4,
        "increment": 4,
        "codec": "jpeg:quality=40",
        "budget": "3img",
        "steps": 6,
        "batch_size": 16,
        "checkpoint_every": 2,
        "align": "train",
    }
    return make_pilot_config(**{**values, **changes})


class Killed(BaseException):
    """Ends a run like a kill: nothing catches it."""


def killed_after(saves: int, setup: PilotConfig, folder: Path) -> None:
    real, count = Checkpoint.save, 0

    def save(self: Checkpoint, path: Path, learner: Any) -> None:
        nonlocal count
        real(self, path, learner)
        count += 1
        if count == saves:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", save)
        with pytest.raises(Killed):
            run_pilot(setup, 2, folder)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_method_runs_keeps_its_budget_and_resumes_exactly(tmp_path: Path, method: str) -> None:
    setup = config(method=method)
    kind = METHODS[method]
    whole = run_pilot(setup, 2, tmp_path / "whole")
    assert [len(row) for row in whole["accuracy_matrix"]] == [1, 2, 3]
    assert all(0 <= value <= 1 for row in whole["accuracy_matrix"] for value in row)
    assert whole["optimizer_steps"] == (0 if kind.frozen else 18), "equal steps, however many phases"
    if kind.exemplars or not kind.frozen:
        assert whole["memory_bytes"] <= whole["budget_bytes"]
        assert all(stage["memory_bytes"] <= whole["budget_bytes"] for stage in whole["memory_by_stage"])
    assert whole["head"] == next(iter(whole["heads"]))
    assert whole["last_accuracy"] == whole["heads"][whole["head"]]["last_accuracy"]
    if kind.exemplars:
        assert min(whole["exemplars"]) >= 1
    else:
        assert whole["exemplars_per_class"] == 0
        assert bool(whole["memory_bytes"]) == kind.frozen, "the bounds keep nothing, the others statistics"
    # frozen learners save twice per stage; the others also within a stage's six steps, and between its phases
    for saves in (1, 2) if kind.frozen else (2, 4):
        killed_after(saves, setup, tmp_path / "killed")
    assert reproducible(run_pilot(setup, 2, tmp_path / "killed")) == reproducible(whole)


def test_icarl_reports_both_heads(tmp_path: Path) -> None:
    result = run_pilot(config(method="icarl", steps=4), 0, tmp_path)
    assert list(result["heads"]) == ["nearest-mean", "linear"]
    assert result["head"] == "nearest-mean"
    assert result["heads"]["linear"]["accuracy_matrix"] != result["accuracy_matrix"]


@pytest.mark.parametrize(("method", "seen"), [("finetune", [4, 4, 2]), ("replay", [4, 8, 10]), ("joint", [4, 8, 10])])
def test_a_stage_offers_only_the_images_that_the_method_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, seen: list[int]
) -> None:
    classes, exemplars = [], []

    def look(network: Any, batches: Any, *args: Any, **kwargs: Any) -> None:
        drawn = [batches(step) for step in range(60)]
        classes.append(len({label for batch in drawn for label in batch.labels.tolist()}))
        exemplars.append(sum(batch.exemplars for batch in drawn))

    monkeypatch.setattr("toolkit.pilots.pilot.train", look)
    run_pilot(config(method=method), 0, tmp_path)
    assert classes == seen
    assert (sum(exemplars) > 0) == (method == "replay")


def test_stored_logits_are_charged_to_the_budget(tmp_path: Path) -> None:
    result = run_pilot(config(method="derpp", steps=2, budget="400img"), 0, tmp_path)
    plain = run_pilot(config(method="replay", steps=2, budget="400img"), 0, tmp_path)
    assert result["exemplars"] == plain["exemplars"], "everything fits"
    seen = [4] * 4 + [8] * 4 + [10] * 2
    logits = sum(2 * outputs * count for outputs, count in zip(seen, result["exemplars"], strict=True))
    assert result["content_bytes"] - plain["content_bytes"] == logits
    assert result["memory_bytes"] > plain["memory_bytes"] + logits
    with ExemplarMemory(tmp_path / result["run_dir"] / "memory.recall") as memory:
        assert sum(map(len, memory.extras())) == logits
        assert memory.summary()["label_bytes"] == LABEL_BYTES * len(memory)


def test_charged_weights_reduce_the_budget_for_exemplars(tmp_path: Path) -> None:
    weights = sum(tensor.nbytes for tensor in build_backbone("resnet8").state_dict().values())
    free, charged = (
        run_pilot(config(method=method, steps=2, budget=str(2 * weights + 25_000)), 0, tmp_path)
        for method in ("der", "der:charge_weights=yes")
    )
    assert free["memory_bytes"] <= charged["memory_bytes"] <= charged["budget_bytes"]
    assert charged["memory_bytes"] > 2 * weights
    assert sum(charged["exemplars"]) < sum(free["exemplars"])
    with pytest.raises(BudgetTooSmall) as caught:
        run_seeds(config(method="der:charge_weights=yes"), [0], tmp_path / "none")
    assert caught.value.smallest > 2 * weights
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("method", ["memo", "podnet"])
def test_networks_that_a_method_cannot_split_are_refused(tmp_path: Path, method: str) -> None:
    with pytest.raises(UsageError, match="resnet8, resnet20, resnet32 or resnet56"):
        run_seeds(config(method=method, network="timm:resnet10t,pretrained=no"), [0], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_unknown_extractor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown extractor 'best'"):
        run_seeds(config(method="ncm", extractor="best"), [0], tmp_path / "none")


def test_the_first_stage_may_have_its_own_recipe(tmp_path: Path) -> None:
    result = run_pilot(config(initial_steps=4, steps=3), 0, tmp_path)
    assert result["optimizer_steps"] == 4 + 3 + 3
    natural = run_pilot(config(memory_share="natural", epochs=0.5, initial_epochs=1.0), 0, tmp_path)
    assert natural["optimizer_steps"] > 0


@pytest.mark.parametrize("method", ["icarl", "bic", "derpp"])
def test_exemplars_decoded_batch_by_batch_give_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    setup = config(method=method, steps=6)
    resident = run_pilot(setup, 0, tmp_path / "resident")
    monkeypatch.setattr("toolkit.pilots.pools.DECODED_SHARE", 0.0)
    streamed = run_pilot(setup, 0, tmp_path / "streamed")
    assert (resident["exemplars_decoded"], streamed["exemplars_decoded"]) == ("once a stage", "for each batch")
    assert reproducible(streamed) == reproducible(resident)


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind.exemplars])
def test_a_last_stage_of_one_class_and_one_exemplar_per_class_suffice(tmp_path: Path, method: str) -> None:
    one = (3 * 16 * 16, 2 * 10 if method == "derpp" else 0)
    budget = str(smallest_bytes([one] * 10, shared=4))
    setup = config(method=method, initial=6, increment=3, steps=4, batch_size=8, budget=budget, codec="raw")
    result = run_pilot(setup, 0, tmp_path)
    assert result["stage_classes"] == [6, 3, 1]
    assert result["memory_bytes"] <= result["budget_bytes"]
    assert min(result["exemplars"]) >= 1
