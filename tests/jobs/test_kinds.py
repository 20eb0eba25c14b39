"""A run folder altered in any way reads as before or is listed as damaged, without affecting other runs."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from run_samples import (
    finished_advice,
    finished_images,
    finished_probe,
    finished_training,
    pilot_config,
    pilot_folder,
)

from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import write_json
from toolkit.jobs import kinds
from toolkit.jobs.kinds import probes_of
from toolkit.jobs.listing import list_runs
from toolkit.jpeg_dl.results import trainings
from toolkit.pilots.as_problems import problems_in
from toolkit.pilots.estimate import estimate_runs
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import accuracy_so_far, comparisons, losses_so_far, result_rows, stage_values
from toolkit.probe.request import ImagesRequest
from toolkit.report.facts import gather_study
from toolkit.report.figures.jpeg import table_figure, variants_figure
from toolkit.report.figures.pilots import accuracy_figure, accuracy_matrix_figure
from toolkit.report.figures.probe import budget_figure, distortion_figure
from toolkit.report.tables import probe_rows
from toolkit.runs.folder import RunFolder
from toolkit.runs.index import query
from toolkit.runs.queue import tickets

FILES = (
    "config.json",
    "events.jsonl",
    "result.json",
    "origin.json",
    "notes.txt",
    "environment.json",
    "worker.log",
    "cancel",
    ".queue",
    ".worker",
    ".lock",
)
VALUES: tuple[Any, ...] = (None, "x", "3", -1, 0, 1e300, 10**30, True, [], {}, ["x"], {"a": 1}, float("nan"), "\ud800")
DRAWN: set[str] = set()


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A run of every kind, finished and not."""
    tmp_path = tmp_path / "runs"
    finished_probe(tmp_path)
    finished_advice(tmp_path)
    finished_images(tmp_path)
    finished_training(tmp_path)
    for codec in ("raw", "png", "jpeg:quality=50"):
        complete(pilot_folder(tmp_path, pilot_config(codec=codec), 0, 0.5))
    under_way(pilot_folder(tmp_path, pilot_config(), 1))
    pilot_folder(tmp_path, pilot_config(), 2).log("failed", reason="the loss is nan")
    return tmp_path


def complete(run: RunFolder) -> None:
    run.log("queued")
    under_way(run)
    run.log("finished", last_accuracy=0.5, seconds=4.0)


def under_way(run: RunFolder) -> None:
    run.log("started", device="cpu")
    run.log("progress", what="training", done=5, total=20, seconds_left=3.5, stage=0, step=5, loss=2.5)
    run.log("stage", stage=0, accuracy={"original": [0.6], "coded": [0.6]}, memory={"exemplars": 9})
    run.note("look")
    run.join_sweep("night")
    write_json(run.path / "environment.json", {"python": "3.11", "libraries": {"torch": "2"}})
    (run.path / "worker.log").write_text("said\n")


def look(runs_dir: Path) -> dict[str, Any]:
    """What the list, pages, report and estimates show of each run, by name."""
    seen: dict[str, Any] = {row["name"]: [row] for row in query(runs_dir, check=kinds.check)}
    runs = list_runs(runs_dir)
    for comparison in comparisons(runs_of(runs, "pilot"), "demo", 32):
        for pilot in comparison.pilots():
            drawn(pilot, draw_pilot)
            for run in pilot["runs"]:
                seen[Path(run["run_dir"]).name] += [run, stage_values(run, "all_classes"), result_rows([pilot])]
        for run, config, _ in comparison.runs:
            if run.result is None:
                seen[run.name] += [accuracy_so_far(run, config, 10), losses_so_far(run), run.progress(), run.error()]
    for name, run in probes_of(runs, "demo", 32).items():
        seen[name].append(run.result)
        drawn(run.result, draw_probe)
    for training in trainings(runs, "demo", 32):
        if (result := training.result()) is not None:
            drawn(result, draw_training)
        for run, seed in training.runs:
            seen[run.name] += [run.result, seed]
    of_demo = [run for run in runs if run.name.startswith("pilot-") and about(run) == ("demo", 32)]
    pilots = gather_study([*of_demo, *probes_of(runs, "demo", 32).values()]).pilots
    estimate_runs([PilotRequest(pilot_config(), 9)], runs_of(runs, "pilot"), unknown_pace=lambda *_: 1.0)
    problems_in(runs_of(runs, "pilot"))
    tickets(runs_dir)
    for one in (run for pilot in pilots for run in pilot["runs"]):
        seen[Path(one["run_dir"]).name].append("in the report")
    return seen


def about(run: RunFolder) -> tuple[Any, Any]:
    request = run.config.get("config") or {}
    return request.get("dataset"), request.get("size", 32)


def drawn(result: Any, draw: Callable[[Any], object]) -> None:
    """Draw each result once."""
    if (text := json.dumps(result)) not in DRAWN:
        draw(result)
        DRAWN.add(text)


def draw_pilot(pilot: dict[str, Any]) -> None:
    accuracy_figure([pilot], storage="exemplars_per_class")
    for run in pilot["runs"]:
        drawn([run["accuracy_matrix"], run["stage_classes"]], lambda matrix: accuracy_matrix_figure(*matrix))


def draw_probe(result: dict[str, Any] | None) -> None:
    if result is not None:
        distortion_figure(probe_rows(result["settings"]), original_bytes=result["original_file_bytes"])
    if "recommended" in (result or {}):
        budgets = result["budgets"]
        budget_figure(budgets["curve"], result["budget_bytes"], budgets["ceiling"])


def draw_training(result: dict[str, Any]) -> None:
    variants_figure(result["variants"])
    table_figure(result["runs"][0]["variants"]["jpeg"]["tables"]["luma"], 9)


def runs_of(runs: list[RunFolder], kind: str) -> list[RunFolder]:
    return [run for run in runs if run.name.startswith(f"{kind}-")]


def require_others_untouched(runs_dir: Path, before: dict[str, Any], what: str = "") -> dict[str, Any]:
    """Check that runs in ``before`` are unchanged and damaged ones have a reason; return the rows of new runs."""
    after = look(runs_dir)
    assert {name: after.get(name) for name in before} == before, what
    rows = {name: facts[0] for name, facts in after.items() if name not in before}
    for name, row in rows.items():
        assert row["state"] in ("done", "failed", "lost", "queued", "cancelled", "damaged", "unreadable"), what
        if row["state"] == "damaged":
            assert row["error"].startswith(f"{name} is damaged: "), what
            assert "\n" not in row["error"]
            assert "secret" not in row["error"]
    return rows


def victims(runs_dir: Path) -> dict[str, RunFolder]:
    """Further runs that are not comparable with the others."""
    aside = runs_dir.parent / "aside"
    config = pilot_config(codec="webp:quality=50")
    complete(pilot_folder(aside, config, 0, 0.5))
    under_way(pilot_folder(aside, config, 1))
    for make in (finished_probe, finished_advice, finished_images, finished_training):
        make(aside).log("finished")
    found = {run.name.split("-")[0]: run for run in list_runs(aside)}
    return found | {"pilot": RunFolder(aside / config.run_name(0)), "under way": RunFolder(aside / config.run_name(1))}


def clone(run: RunFolder, runs_dir: Path, tag: str) -> Path:
    return shutil.copytree(run.path, runs_dir / f"{run.name.split('-')[0]}-{tag}")


def raw_alterations(path: Path, outside: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Alterations of any file, regardless of its purpose."""

    def cleared(then: Callable[[], object]) -> Callable[[], object]:
        def alter() -> None:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            then()

        return alter

    content = path.read_bytes() if path.exists() else b""
    for name, made in {
        "empty": b"",
        "text": b'"x"',
        "list": b"[]",
        "object": b"{}",
        "null": b"null",
        "not UTF-8": b"\xff\xfe\x00",
        "deep": b"[" * 100_000,
        "deep lines": b'{"a":' * 3000 + b"\n" + b"[" * 3000,
        "half": content[: len(content) // 2],
        "twice": content * 2,
        "zeros": b"\0" * 5000,
        "NaN": b'{"time": NaN, "event": "failed"}',
        "number": b"1" * 5000,
        "surrogate": rb'{"kind": "\ud800"}',
        "no reason": b'{"time": 1, "event": "failed"}\n',
        "no time": b'{"event": "failed", "reason": "r"}\n',
        "far away": b'{"time": 1e300, "event": "started"}\n',
    }.items():
        yield name, cleared(lambda made=made: path.write_bytes(made))
    yield "folder", cleared(path.mkdir)
    yield "pipe", cleared(lambda: os.mkfifo(path))
    yield "link out", cleared(lambda: path.symlink_to(outside))
    yield "dangling link", cleared(lambda: path.symlink_to("nowhere"))
    yield "link to itself", cleared(lambda: path.symlink_to(path.name))
    yield "device", cleared(lambda: path.symlink_to("/dev/zero"))
    yield "gone", cleared(lambda: None)
    yield "huge", cleared(lambda: (path.touch(), os.truncate(path, 2**31)))


def test_replacing_a_file_by_anything_affects_no_other_run(runs_dir: Path) -> None:
    outside = runs_dir.parent / "outside"
    outside.write_text('{"kind": "pilot", "secret": "of another user"}')
    before = look(runs_dir)
    damaged = set()
    found = victims(runs_dir)
    for kind, names in {"pilot": FILES, "under way": FILES[1:2], "advise": FILES[2:3]}.items():
        victim = found[kind]
        for name in names:
            for number, (how, _) in enumerate(raw_alterations(victim.path / name, outside)):
                path = clone(victim, runs_dir, f"{kind}-{name}-{how}".replace(" ", "-")) / name
                list(raw_alterations(path, outside))[number][1]()
                if name == "config.json" or (name == "result.json" and kind != "under way"):
                    damaged.update({path.parent.name} if how not in ("gone", "twice") else ())
    rows = require_others_untouched(runs_dir, before)
    assert {name for name in damaged if rows[name]["state"] != "damaged"} == set()
    whole = {name for name, row in rows.items() if row["state"] != "damaged"}
    assert {name for name in whole if name.startswith("pilot-pilot-environment.json")}, "it is only shown"


def places(value: Any) -> Iterator[list[Any]]:
    """The paths of all parts of a JSON value, as lists of keys and indices."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield [key]
        yield from ([key, *inner] for inner in places(part))


def altered(value: Any, generator: random.Random) -> Any:
    """A JSON value with one part removed, replaced or duplicated."""
    *way, last = generator.choice(list(places(value)))
    inside = value
    for key in way:
        inside = inside[key]
    other = generator.choice(("gone", "doubled", *VALUES))
    if other == "gone":
        del inside[last]
    elif other == "doubled":
        inside[last] = [inside[last], inside[last]]
    else:
        inside[last] = other
    return value


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
@pytest.mark.parametrize("name", ["config.json", "result.json", "origin.json", "environment.json", "events.jsonl"])
def test_wrong_and_missing_values_affect_no_other_run(name: str, seed: int, runs_dir: Path) -> None:
    before = look(runs_dir)
    generator = random.Random(f"{name} {seed}")
    for kind, victim in victims(runs_dir).items():
        if not (victim.path / name).exists():
            continue
        for number in range(12):
            path = clone(victim, runs_dir, f"{kind.replace(' ', '-')}-{number}") / name
            texts = path.read_text().splitlines() if name == "events.jsonl" else [path.read_text()]
            n = generator.randrange(len(texts))
            texts[n] = json.dumps(altered(json.loads(texts[n]), generator))
            path.write_text("\n".join(texts) + "\n")
    states = [row["state"] for row in require_others_untouched(runs_dir, before).values()]
    assert "damaged" in states or name == "environment.json"
    assert set(states) - {"damaged"}, "some values are as good as others"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("events.jsonl", '{"event": "started"}\n', "events.jsonl: time: Field required"),
        ("events.jsonl", '{"time": 1.0, "event": "failed"}\n', "events.jsonl: reason: Field required"),
        ("result.json", '"x"', "result.json: it must be an object, got 'x'"),
        ("config.json", "[]", "config.json: it must be an object, got []"),
        ("config.json", "[" * 99 + "]" * 99, "config.json: it is nested deeper than 64 levels"),
        ("result.json", "{}", "result.json: seed: Field required"),
        ("origin.json", '{"sweeps": "night"}', "origin.json: sweeps: Input should be a valid list, got 'night'"),
        ("config.json", '{"kind": "pilot", "seed": 0, "config": {"steps": 3}}', "config.json: dataset: Field required"),
    ],
)
def test_the_reason_names_file_and_location(name: str, content: str, told: str, runs_dir: Path) -> None:
    victim = RunFolder(runs_dir / pilot_config(codec="png").run_name(0))
    (victim.path / name).write_text(content)
    with pytest.raises(WorkError) as caught:
        kinds.check(victim)
    assert str(caught.value).startswith(f"{victim.name} is damaged: {told}")
    row = next(row for row in query(runs_dir, check=kinds.check) if row["name"] == victim.name)
    assert (row["state"], row["error"]) == ("damaged", str(caught.value))


def test_cut_lines_and_zeros_in_a_log_after_a_power_cut_are_not_damage(runs_dir: Path) -> None:
    run = RunFolder(runs_dir / pilot_config().run_name(1))
    events = run.events()
    whole = (run.path / "events.jsonl").read_bytes()
    last = whole.splitlines()[-1]
    for cut in range(len(last)):
        (run.path / "events.jsonl").write_bytes(whole + last[:cut] + b"\n")
        assert run.events() == events, last[:cut]
    (run.path / "events.jsonl").write_bytes(whole + b"\0" * 4096)
    assert run.events() == events
    (run.path / "events.jsonl").write_bytes(whole[:-1] + b"x\n")
    with pytest.raises(WorkError, match=r"is damaged: events\.jsonl"):
        run.events()


def test_a_damaged_request_is_reported_when_read(runs_dir: Path) -> None:
    request = ImagesRequest("demo", 32, "jpeg:quality=10", images=100)
    run = request.folder_at(runs_dir)
    assert run is not None
    run.result_path.write_text('{"images": 3}')
    with pytest.raises(WorkError, match=r"is damaged: result\.json: "):
        request.folder_at(runs_dir)
    run.config_path.write_text(json.dumps({**request.contents(), "kind": "images", "size": "32"}))
    with pytest.raises(WorkError, match=r"is damaged: config\.json: size: '32' is not a valid value"):
        request.folder_at(runs_dir)


def test_a_folder_whose_name_is_not_utf8_is_listed(runs_dir: Path) -> None:
    before = look(runs_dir)
    strange = Path(os.fsdecode(os.fsencode(runs_dir) + b"/pilot-\xff"))
    shutil.copytree(runs_dir / pilot_config(codec="png").run_name(0), strange)
    after = look(runs_dir)
    assert after.pop("pilot-\\udcff")[0]["error"] == "pilot-\\udcff is damaged: its name is not UTF-8"
    assert after == before
