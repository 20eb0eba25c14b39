"""Sweep files: their runs, and errors with their position."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from toolkit.foundation.errors import UsageError
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots import estimate, plan
from toolkit.pilots.sweep_file import read_sweep

GOOD = """\
# a look at two codecs
dataset: demo
size: 16
initial: 5
increment: 5
codecs: raw;jpeg:quality={10,50}
budgets: [2img, 4img]
aligns: [none, both]
seeds: [0, 1]
steps: 3
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "look.yaml"
    path.write_text(text)
    return path


def test_the_grid_contains_every_combination_once(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, GOOD))
    assert sweep.name == "look"
    assert len(sweep.planned) == (1 + 2 * 2) * 2 * 2, "raw needs no alignment"
    assert len({run.run_name() for run in sweep.planned}) == len(sweep.planned)
    assert {run.config.steps for run in sweep.planned} == {3}
    (shared,) = plan.plan(["raw"], ["none"], ["2img"], [0], dataset="demo", size=16, initial=5, increment=5, steps=3)
    assert shared in sweep.planned


def test_single_values_and_defaults(tmp_path: Path) -> None:
    text = "name: night\ndataset: demo\ninitial: 2\nincrement: 2\ncodecs: [raw, raw]\nbudgets: 65536\nlr: 1e-2\n"
    sweep = read_sweep(written(tmp_path, text))
    (run,) = sweep.planned
    assert (sweep.name, run.seed, run.config.budget, run.config.lr) == ("night", 0, "65536", 0.01)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "codecs:",
            "codec:",
            r"look.yaml:6: unknown key 'codec' \(did you mean 'codecs'\?\); the keys are name, codecs, bud",
        ),
        ("steps: 3", "stepz: 3", r"look.yaml:10: unknown key 'stepz' \(did you mean 'steps'\?\)"),
        ("steps: 3", "steps: many", "look.yaml:10: steps: Input should be a valid integer"),
        ("steps: 3", "steps: 0", "look.yaml:10: steps: "),
        ("steps: 3", "steps: 3\nsteps: 4", "look.yaml:11: steps is already in line 10"),
        ("[none, both]", "[none, all]", "look.yaml:8: aligns: .*'both', got 'all'"),
        ("[none, both]", "[none, both", "look.yaml:9: not valid YAML"),
        ("[2img, 4img]", "{a: 1}", "look.yaml:7: budgets: takes a list"),
        ("[2img, 4img]", "lots", "look.yaml:7: budgets: .*20img"),
        ("quality={10,50}", "quality=500", "look.yaml:6: codecs: .*1..100"),
        ("seeds: [0, 1]", "seeds: [0, x]", "look.yaml:9: seeds: .*whole numbers"),
        ("seeds: [0, 1]", "seeds: [1, 1]", "look.yaml:9: seeds: .*distinct"),
        ("seeds: [0, 1]", "methods: magic", "look.yaml:9: methods: unknown method 'magic': choose one of .*replay"),
        ("seeds: [0, 1]", "name: ../x", "look.yaml:9: name: "),
        ("initial: 5\n", "", "initial is missing"),
        (GOOD, "- raw\n", "look.yaml:1: a sweep file needs lines"),
        (GOOD, "", "look.yaml:1: a sweep file needs lines"),
    ],
)
def test_a_mistake_is_one_line_with_its_position(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError, match=said) as caught:
        read_sweep(written(tmp_path, GOOD.replace(old, new)))
    assert "\n" not in str(caught.value)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"codecs: {'[' * 100_000}", "look.yaml:1: not valid YAML: nested deeper than 64 levels"),
        (BOMB, "look.yaml:6: not valid YAML: more than 20,000 values"),
        (GOOD.replace("[2img, 4img]", "&b [*b]"), r"look.yaml:7: not valid YAML: \*b contains itself"),
        (GOOD.replace("steps: 3", "steps: !!int ''"), "look.yaml:10: steps: "),
        (GOOD.replace("steps: 3", "steps: !!bool x"), "look.yaml:10: steps: "),
        (GOOD.replace("steps: 3", f"steps: {'9' * 5000}"), "look.yaml:10: steps: "),
        (GOOD.replace("steps: 3", "steps: 2024-99-99"), "look.yaml:10: steps: "),
        (GOOD.replace("steps: 3", "steps: !!timestamp x"), "look.yaml:10: steps: "),
        (GOOD.replace("[0, 1]", f"[{2**63}]"), f"look.yaml:9: seeds: .*at most {2**63 - 1}"),
        ("#" * 2**19, "is not a sweep file: it has more than 262,144 bytes"),
    ],
)
def test_files_that_would_exhaust_memory_or_crash_the_reader_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read_sweep(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_a_sweep_may_be_a_pipe_and_share_lists_by_alias() -> None:
    text = GOOD.replace("[2img, 4img]", "&some [2img, 4img]")
    ours, theirs = os.pipe()
    os.write(theirs, f"name: piped\n{text}".encode())
    os.close(theirs)
    try:
        sweep = read_sweep(Path(f"/dev/fd/{ours}"))
    finally:
        os.close(ours)
    assert (sweep.name, len(sweep.planned)) == ("piped", 20)


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*No such file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a UTF-8 text file"):
        read_sweep(tmp_path / "binary.yaml")


def test_epochs_are_counted_over_all_images() -> None:
    (run,) = plan.plan(
        ["raw"], ["none"], ["2img"], [0], dataset="demo", initial=5, increment=5, epochs=2.0, batch_size=10
    )
    assert plan.step_count(run.config, 10, 1000) == 200


def test_a_warm_up_estimates_runs_without_a_similar_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = read_sweep(written(tmp_path, GOOD)).planned
    warmed: list[object] = []
    monkeypatch.setattr(estimate, "warmup_seconds_per_step", lambda config, progress: warmed.append(config) or 0.5)
    estimates = estimate.estimate_runs(planned, [])
    assert len(warmed) == 1, "codec, budget and seed do not change the time of a step"
    first = estimates[planned[0].run_name()]
    assert (first.seconds, first.from_runs) == (pytest.approx(10 + 2 * 3 * 0.5), False)
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)  # of grey ones more would fit
    with ExemplarMemory(tmp_path / "m.recall", first.memory_bytes, "raw") as memory:
        memory.add_images(dict.fromkeys(range(10), images))
        assert set(memory.class_counts.values()) == {2}, "2img hold two raw images per class"


def test_the_warm_up_times_real_steps(tmp_path: Path) -> None:
    (run,) = plan.plan(
        ["jpeg:quality=10"],
        ["both"],
        ["2img"],
        [0],
        dataset="demo",
        size=16,
        initial=2,
        increment=2,
        batch_size=8,
        network="resnet8",
    )
    assert 0 < estimate.warmup_seconds_per_step(run.config) < 10
