"""The ``--json`` of every command has exactly the keys and types of its contract."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from PIL import Image
from typing_extensions import TypedDict, is_typeddict

from toolkit.advice.contents import AdviceResult, RegretResult
from toolkit.cli import run
from toolkit.cli.runs import DescribedRun, ListedRuns
from toolkit.codec_training.facts import CodecTrainingResult
from toolkit.codecs.neural.inventory import ListedModels
from toolkit.data.summary import DatasetFacts
from toolkit.jpeg_dl.contents import AttackResult, ExportResult, TrainingsSummary
from toolkit.memory.facts import FileMemoryFacts, ShardedMemoryFacts, VerifyResult
from toolkit.pilots.contents import EstimateResult, PilotSummary, SweepResult
from toolkit.probe.contents import ImagesResult, ProbeResult
from toolkit.production.facts import BundleFacts, MonitorCall
from toolkit.report.cost import CostResult
from toolkit.report.facts import StudyContents
from toolkit.study.contents import StudyResult


def problems(contract: Any, value: object, where: str = "") -> Iterator[str]:
    """Every place where a value departs from a contract."""
    origin, arguments = get_origin(contract), get_args(contract)
    if origin in (Annotated, NotRequired, Required):
        yield from problems(arguments[0], value, where)
    elif origin in (Union, types.UnionType):
        if all(any(problems(one, value)) for one in arguments):
            yield f"{where}: {value!r} is none of {arguments}"
    elif origin is Literal:
        if value not in arguments:
            yield f"{where}: {value!r} is not one of {arguments}"
    elif is_typeddict(contract):
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is not an object"
            return
        hints = get_type_hints(contract, include_extras=True)
        # where annotations are strings, __required_keys__ has the keys marked NotRequired too
        required = {name for name in contract.__required_keys__ if get_origin(hints[name]) is not NotRequired}
        yield from (f"{where}.{name} is missing" for name in required - value.keys())
        yield from (f"{where}.{name} is not in {contract.__name__}" for name in value.keys() - hints.keys())
        for name in hints.keys() & value.keys():
            yield from problems(hints[name], value[name], f"{where}.{name}")
    elif origin is list:
        if not isinstance(value, list):
            yield f"{where}: {value!r} is not a list"
            return
        for place, one in enumerate(value):
            yield from problems(arguments[0], one, f"{where}[{place}]")
    elif origin is dict or origin is Mapping:
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is not an object"
            return
        for name, one in value.items():
            yield from problems(arguments[1], one, f"{where}.{name}")
    elif contract not in (object, Any):
        accepted = (int, float) if contract is float else contract or type(None)
        if not isinstance(value, accepted) or (isinstance(value, bool) and contract is not bool):
            yield f"{where}: {value!r} is not {contract}"


class _Inner(TypedDict):
    value: float | None


class _Example(TypedDict):
    name: str
    inner: list[_Inner]
    more: NotRequired[int]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": "a", "inner": [{"value": 1}, {"value": None}]}, []),
        ({"name": "a", "inner": [], "more": 1}, []),
        ({"inner": []}, [".name is missing"]),
        ({"name": "a", "inner": [], "other": 1}, [".other is not in _Example"]),
        ({"name": 1, "inner": []}, [".name: 1 is not <class 'str'>"]),
        ({"name": "a", "inner": [], "more": True}, [".more: True is not <class 'int'>"]),
    ],
)
def test_the_comparison_finds_missing_unknown_and_mistyped_keys(value: object, expected: list[str]) -> None:
    assert list(problems(_Example, value)) == expected


SMALL = ("demo", "--size", "16")
PROBED = (*SMALL, "--images", "40", "--codecs", "raw;jpeg:quality=50", "--extractor", "random")
STEPS = ("--steps", "2", "--batch-size", "8", "--network", "resnet8", "--device", "cpu")
PILOT = (*SMALL, "--initial", "5", "--increment", "5", "--codec", "png", "--budget", "4img", *STEPS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands below read, made by the command line itself."""
    folder = tmp_path_factory.mktemp("made")
    runs = folder / "runs"
    for place in range(3):
        image = np.random.default_rng(place).integers(0, 256, (20, 20, 3), np.uint8)
        (folder / "new").mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "new" / f"{place}.png")
    (folder / "sweep.yaml").write_text(
        "dataset: demo\nsize: 16\ninitial: 5\nincrement: 5\ncodecs: png\nbudgets: [4img]\nsteps: 2\nbatch_size: 8\n"
        "network: resnet8\ndevice: cpu\n"
    )
    for words in (
        ("memory", "build", *SMALL, "--codec", "png", "--budget", "4img", "--selection", "random", "-o", "a.recall"),
        ("pilot", *PILOT, "--runs-dir", "runs", "--seeds", "0"),
        ("jpeg", "train", *SMALL, *STEPS, "--controls", "none", "--runs-dir", "runs"),
    ):
        assert run([str(folder / word) if word in ("a.recall", "runs") else word for word in words]) == 0
    (pilot,) = runs.glob("pilot-*")
    pilot.rename(runs / "pilot-demo")
    (training,) = runs.glob("jpeg-*")
    training.rename(runs / "jpeg-demo")
    assert run(["bundle", "export", str(runs / "pilot-demo"), "-o", str(folder / "bundle")]) == 0
    return folder


BUILD = ("memory", "build", *SMALL, "--codec", "png", "--budget", "4img", "--selection", "random", "-o")
STUDIED = ("--codecs", "raw;jpeg:quality=50", "--budget", "4img", "--steps", "2", "--images", "60")
TINY = ("--steps", "2", "--channels", "8", "--latent", "4", "--bpp", "1", "--batch-size", "4", "--device", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "contract"),
    [
        (("data", *SMALL), DatasetFacts),
        (("probe", *PROBED), ProbeResult),
        (("images", *SMALL, "--images", "10", "--codec", "jpeg:quality=50", "--extractor", "random"), ImagesResult),
        (("advise", *PROBED), AdviceResult),
        (("study", *SMALL, *STUDIED, "--runs-dir", "@studied", "-o", "@study.pdf"), StudyResult),
        (("regret",), RegretResult),
        (("pilot", *PILOT, "--runs-dir", "@new-runs"), PilotSummary),
        (("pilot", *PILOT, "--runs-dir", "@new-runs", "--dry-run"), EstimateResult),
        (("sweep", "@sweep.yaml", "--runs-dir", "@runs", "--dry-run"), EstimateResult),
        (("sweep", "@sweep.yaml", "--runs-dir", "@runs"), SweepResult),
        (("runs", "list", "--runs-dir", "@runs"), ListedRuns),
        (("runs", "show", "pilot-demo", "--runs-dir", "@runs"), DescribedRun),
        ((*BUILD, "@b.recall"), FileMemoryFacts),
        ((*BUILD, "@shards", "--shards", "2", "--workers", "1"), ShardedMemoryFacts),
        (("memory", "inspect", "@a.recall"), FileMemoryFacts),
        (("memory", "inspect", "@a.recall", "--images"), FileMemoryFacts),
        (("memory", "verify", "@a.recall"), VerifyResult),
        (("jpeg", "train", *SMALL, *STEPS, "--controls", "none", "--runs-dir", "@other-runs"), TrainingsSummary),
        (("jpeg", "attack", "@runs/jpeg-demo", "--images", "4", "--eps", "1,2", "--queries", "2"), AttackResult),
        (("jpeg", "export", "@runs/jpeg-demo", "-o", "@tables.json"), ExportResult),
        (("neural", "train", *SMALL, *TINY, "-o", "@models"), CodecTrainingResult),
        (("neural", "list"), ListedModels),
        (("bundle", "export", "@runs/pilot-demo", "-o", "@bundle-2"), BundleFacts),
        (("bundle", "show", "@bundle"), BundleFacts),
        (("monitor", "@bundle", "@new"), MonitorCall),
        (("cost", "--before", "1000", "--after", "100"), CostResult),
        (("report", "@runs/pilot-demo", "-o", "@report.pdf"), StudyContents),
    ],
    ids=lambda words: " ".join(words[:2]) if isinstance(words, tuple) else words.__name__,
)
def test_the_json_of_a_command_keeps_its_contract(made: Path, words: tuple[str, ...], contract: type) -> None:
    written = made / "written.json"
    written.unlink(missing_ok=True)
    run([*(str(made / word[1:]) if word.startswith("@") else word for word in words), "--json", str(written)])
    assert list(problems(contract, json.loads(written.read_text()))) == []
