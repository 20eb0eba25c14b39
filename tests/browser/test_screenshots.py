"""Screenshots for the documentation: every page shows a small study without an error.

With ``RECALLRATE_SCREENSHOTS=FOLDER``, the pages used in ``docs/`` are written there as small PNGs. With
``RECALLRATE_DATA``, this includes the tutorial's study of photographs and the README's picture, the Trade-off page of
the study of Tiny-ImageNet. Finished runs under ``RECALLRATE_RUNS`` are reused.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from app_server import ROOT, Server
from playwright.sync_api import Page, expect
from steps import QUICK, settled

import toolkit
from toolkit.foundation.files import read_json, write_json
from toolkit.probe.request import ImagesRequest

pytestmark = pytest.mark.browser
WIDTH, HEIGHT = 1200, 900
MOST_BYTES = 150_000
DRAWN = os.environ.get("RECALLRATE_SCREENSHOTS")
DATA = os.environ.get("RECALLRATE_DATA")
KEPT_RUNS = os.environ.get("RECALLRATE_RUNS")  # read now, since each test session sets its own


@dataclass(frozen=True)
class Study:
    """A study to show: a dataset with its probe, pilots and single images.

    Attributes:
        name: prefix of the names of the pictures.
        dataset: as in the address.
        pilots: codecs and alignments.
    """

    name: str
    dataset: str
    grid: str
    budget: str
    images: int
    initial: int
    increment: int
    steps: int
    pilots: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    size: int = 32

    def make(self, dataset: str, runs_dir: Path) -> None:
        """Run what is missing; ``dataset`` is the spec in the requests."""
        advice = toolkit.AdviceRequest(
            dataset=dataset,
            size=self.size,
            codecs=self.grid,
            budget=self.budget,
            images=self.images,
            initial=self.initial,
            increment=self.increment,
        )
        closely = ImagesRequest(dataset=dataset, size=self.size, codec=self.pilots[-1][0])
        for request in (closely, advice):
            run = request.folder(runs_dir)
            if run.result is None:
                write_json(run.result_path, request.run())
        for codec, align in self.pilots:
            config = toolkit.PilotConfig(
                dataset=dataset,
                size=self.size,
                initial=self.initial,
                increment=self.increment,
                codec=codec,
                budget=self.budget,
                align=align,
                steps=self.steps,
                batch_size=64,
            )
            toolkit.run_seeds(config, self.seeds, runs_dir)


@dataclass(frozen=True)
class Recorded:
    """The road study, whose results contain its pilots.

    Attributes:
        name, dataset, budget, size: as in :class:`Study`.
        results: its JSON.
    """

    name: str
    dataset: str
    budget: str
    results: Path
    size: int = 32

    def make(self, dataset: str, runs_dir: Path) -> None:
        """Write the pilots as finished runs; those from before the second head had one head."""
        for pilot in read_json(self.results)["pilots"]:
            config = toolkit.PilotConfig(**pilot["config"] | {"dataset": dataset})
            for result in pilot["runs"]:
                request = {"seed": result["seed"], "config": config.model_dump(mode="json")}
                run = toolkit.RunFolder.create(runs_dir / config.run_name(result["seed"]), "pilot", request)
                head = {"head": "linear", "heads": {"linear": {"last_accuracy": result["last_accuracy"]}}}
                write_json(run.result_path, head | result | {"run_dir": run.name})


DEMO = Study(
    "app",
    "demo",
    "raw;png;jpeg:quality={10,20,50,75};webp:quality={20,50}",
    "4img",
    100,
    5,
    5,
    20,
    (("raw", "none"), ("jpeg:quality=20", "train"), ("jpeg:quality=50", "train")),
    (0, 1, 2) if DRAWN else (0,),
)
PHOTOGRAPHS = Study(
    "tutorial",
    "flowers17",
    "raw;png;jpeg:quality={20,50,75};webp:quality={30,60}",
    "2img",
    2000,
    5,
    4,
    100,
    (("raw", "none"), ("jpeg:quality=50", "train")),
)
_RESULTS = ROOT / "notebooks" / "studies" / "results"
RECORDED = Recorded("road", "tiny-imagenet-20", "4img", _RESULTS / "road.json")
PLACES = ("data", "probe", "images", "pilot", "tradeoff", "jpeg", "cost", "report", "monitor")
LAST_DRAWN = dict.fromkeys(("data", "probe", "tradeoff"), ".main-svg") | dict.fromkeys(("images", "report"), "img")
"""The last element drawn of each picture."""
RESULTS_BELOW = ("probe", "report")
"""Pages whose results are below a form that fills the window."""
PICTURES = {"app-probe", "road-tradeoff", *(f"tutorial-{place}" for place in LAST_DRAWN)}
"""The pictures used by the documentation."""
SHOWN = [(DEMO, place) for place in PLACES]
if DRAWN and DATA:
    SHOWN += [*((PHOTOGRAPHS, place) for place in PLACES), (RECORDED, "tradeoff")]


@pytest.fixture(scope="module")
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Study | Recorded, Server]]:
    """A study, and a server whose working folder has the images, so that addresses are short."""
    study = request.param
    made = Server(tmp_path_factory.mktemp("shown"))
    if KEPT_RUNS and study is not RECORDED:
        made.runs_dir = Path(KEPT_RUNS)
        made.environment["RECALLRATE_RUNS"] = KEPT_RUNS
    made.cwd = tmp_path_factory.mktemp("work")
    (made.cwd / ".streamlit").symlink_to(ROOT / ".streamlit")
    if study.dataset != "demo":
        (made.cwd / study.dataset).symlink_to(Path(str(DATA)) / study.dataset)
    study.make(study.dataset if study.dataset == "demo" else str(Path(str(DATA)) / study.dataset), made.runs_dir)
    serve = ["streamlit", "run", str(ROOT / "app.py"), "--server.headless", "true", "--server.address", "127.0.0.1"]
    made.launch(*serve, "--server.port", str(made.port))
    yield study, made
    made.kill()


@pytest.mark.parametrize(
    ("shown", "place"), SHOWN, indirect=["shown"], ids=[f"{study.name}-{place}" for study, place in SHOWN]
)
def test_the_pages_of_the_documentation_show_a_study(
    shown: tuple[Study | Recorded, Server], open_page: Callable[..., Page], place: str
) -> None:
    study, server = shown
    page = open_page(WIDTH)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    budget = f"&budget={study.budget}&pilot_budget={study.budget}"
    setting = f"&setting={study.pilots[-1][0]}" if place == "images" and isinstance(study, Study) else ""
    page.goto(f"{server.url}/{place}?dataset={study.dataset}&size={study.size}{budget}{setting}")
    expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=QUICK)
    if last := LAST_DRAWN.get(place, ""):
        expect(page.get_by_test_id("stMain").locator(last).first).to_be_visible(timeout=QUICK)
    settled(page)
    if place in RESULTS_BELOW:
        page.get_by_test_id("stMain").locator(last).first.evaluate("e => e.scrollIntoView({block: 'center'})")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
    if DRAWN and f"{study.name}-{place}" in PICTURES:
        write_small(page.screenshot(animations="disabled"), Path(DRAWN) / f"{study.name}-{place}.png")


def write_small(png: bytes, path: Path) -> None:
    """Write a PNG, with a palette if it is too large otherwise, as with many photographs."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
