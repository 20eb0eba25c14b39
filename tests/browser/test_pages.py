"""Single pages in a real browser, with synthetic results."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from hostile_names import NAMES, hostile_dataset
from PIL import Image
from run_samples import finished_advice, finished_images, finished_training, pilot_config, pilot_folder

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from app_server import Server
from playwright.sync_api import Page, expect
from steps import NARROW, PAGES, QUICK, SLOW, enter, go, heading, marks, open_sidebar, settled

from toolkit.foundation.printing import visible

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with finished advice, images, trainings and pilots of the demo set."""
    made = Server(tmp_path_factory.mktemp("browser"))
    made.runs_dir.mkdir(parents=True)
    finished_advice(made.runs_dir)
    finished_images(made.runs_dir)
    finished_training(made.runs_dir)
    for seed in (0, 1):
        for codec, align, last in (("raw", "none", 0.40), ("png", "none", 0.42), ("jpeg:quality=50", "both", 0.52)):
            pilot_folder(made.runs_dir, pilot_config(codec=codec, align=align), seed, last + 0.02 * seed)
    made.start()
    yield made
    made.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, NARROW])
def test_every_page_fits_the_window_and_shows_no_error(
    shown: Server, open_page: Callable[..., Page], width: int, scheme: str
) -> None:
    page = open_page(width, color_scheme=scheme)
    page.goto(f"{shown.url}/?dataset=demo&size=32")
    for name in (*PAGES[1:], PAGES[0]):
        go(page, name)
        settled(page)
        expect(page.get_by_test_id("stAlertContentError")).to_have_count(0)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        overflow = page.get_by_test_id("stMain").evaluate("main => main.scrollWidth - main.clientWidth")
        assert overflow <= 0, f"{name} is {overflow} px wider than the window"


def test_every_chart_and_picture_has_a_description(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/?dataset=demo&size=32")
    for name in (*PAGES[1:], PAGES[0]):
        go(page, name)
        settled(page)
        for kind in ("stPlotlyChart", "stDataFrame"):
            for element in page.get_by_test_id(kind).all():
                described = element.evaluate(
                    "e => !!(e.querySelector('[aria-label],[role=img]') || e.getAttribute('aria-label'))"
                )
                assert described, f"{kind} on {name}"
        for picture in page.locator("img").all():
            assert picture.get_attribute("alt") is not None, name


def test_a_click_on_a_mark_leads_to_its_images(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/probe?dataset=demo&size=32")
    expect(marks(page).first).to_be_visible(timeout=QUICK)
    settled(page)
    chosen = page.get_by_role("combobox", name=re.compile("One setting"))
    jpeg = page.get_by_test_id("stPlotlyChart").first.locator(".scatterlayer .trace").nth(1).locator(".points path")
    jpeg.first.scroll_into_view_if_needed()
    box = jpeg.first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_text("70 bytes stored per image")).to_be_visible(timeout=QUICK)
    assert chosen.count() <= 1
    page.get_by_role("link", name="See what it does to the images").click()
    expect(heading(page, "Images")).to_be_visible(timeout=QUICK)
    assert "setting=jpeg%3Aquality%3D10" in page.url


def pictures_loaded(page: Page) -> None:
    """Wait until no script runs and every picture has come: the server drops those of a run that was replaced."""
    settled(page)
    page.wait_for_function("[...document.images].every(image => image.complete)")


def test_tiles_can_be_used_by_keyboard(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/images?dataset=demo&size=32&setting=jpeg:quality=10")
    slider = page.get_by_role("slider", name="Images")
    expect(slider).to_be_visible(timeout=QUICK)
    slider.press("Home")
    tiles = page.get_by_role("button", name=re.compile("disc-rising #"))
    expect(tiles).to_have_count(3, timeout=QUICK)
    expect(tiles.first).to_have_attribute("aria-pressed", "true")
    pictures_loaded(page)
    tiles.nth(1).focus()
    page.keyboard.press("Enter")
    expect(tiles.nth(1)).to_have_attribute("aria-pressed", "true", timeout=QUICK)
    expect(page).to_have_url(re.compile("image=3"), timeout=QUICK)
    pictures_loaded(page)
    wipe = page.get_by_role("slider", name="How much of the original is shown")
    wipe.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert wipe.input_value() == "40"
    edge = page.locator(".over")
    assert "inset(0px 60% 0px 0px)" in str(edge.evaluate("image => getComputedStyle(image).clipPath"))


def test_addresses_reopen_the_same_view(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/tradeoff?dataset=demo&size=32")
    run = page.get_by_role("combobox", name=re.compile("^Run"))
    expect(run.first).to_be_visible(timeout=QUICK)
    expect(page).to_have_url(re.compile("run=pilot-demo"), timeout=QUICK)
    settled(page)
    before = page.url
    run.first.click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(before, timeout=QUICK)
    found = re.search("run=([^&]+)", page.url)
    assert found is not None
    other = open_page()
    other.goto(page.url)
    expect(other.get_by_text("Folder:")).to_contain_text(found[1], timeout=QUICK)


def test_the_probe_form_can_be_reached_with_the_tab_key(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/probe?dataset=demo&size=32")
    for role, name in (("button", "Run probe"), ("textbox", "Codec settings"), ("textbox", "Memory budget")):
        expect(page.get_by_role(role, name=name)).to_be_visible(timeout=QUICK)  # type: ignore[arg-type]
    settled(page)
    page.wait_for_load_state("networkidle")  # each kind of field loads its own script
    page.get_by_role("link", name="Data", exact=True).focus()
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(() => { const e = document.activeElement; return e.getAttribute('aria-label') || e.innerText || ''; })()"
        )
        seen.append(name.strip())
        if name.strip().endswith("Run probe"):
            break
    assert seen[-1].endswith("Run probe"), seen
    assert {"Codec settings", "Memory budget"} <= set(seen), "\n".join(name[:40] for name in seen)


def test_japanese_by_the_switch_by_the_address_and_by_the_browser(
    shown: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    page.goto(f"{shown.url}/data?dataset=demo&size=32")
    expect(heading(page, "Data")).to_be_visible(timeout=QUICK)
    page.get_by_role("radio", name="日本語").or_(page.get_by_role("button", name="日本語")).first.click()
    expect(heading(page, "データ")).to_be_visible(timeout=QUICK)
    expect(page).to_have_url(re.compile("lang=ja"), timeout=QUICK)
    page.get_by_role("link", name="パイロット", exact=True).click()
    expect(page.get_by_role("button", name="開始")).to_be_visible(timeout=QUICK)
    page.goto(f"{shown.url}/tradeoff?dataset=demo&size=32&lang=ja")
    expect(heading(page, "トレードオフ")).to_be_visible(timeout=QUICK)
    native = open_page(locale="ja-JP")
    native.goto(f"{shown.url}/cost?dataset=demo&size=32")
    expect(native.get_by_test_id("stSidebar").get_by_text("データセット").first).to_be_visible(timeout=QUICK)


def test_the_pilot_form_is_described_for_screen_readers(shown: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{shown.url}/pilot?dataset=demo&size=32")
    expect(page.get_by_role("button", name="Start")).to_be_visible(timeout=QUICK)
    settled(page)
    expect(page.get_by_test_id("stSidebarNav")).to_match_aria_snapshot(
        "\n".join(["- list:", *(f"  - listitem:\n    - link /{name}$/" for name in PAGES)])
    )
    for role, name in (
        ("textbox", "Memory budget"),
        ("textbox", "Seeds"),
        ("spinbutton", "Classes in the first stage"),
        ("spinbutton", "Training steps per stage"),
        ("button", "Start"),
    ):
        expect(page.get_by_role(role, name=name).first).to_be_visible()  # type: ignore[arg-type]


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_an_uploaded_archive_with_broken_files_is_opened_without_them(
    server: Server, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n, name in enumerate(("cat", "dog")):
            for k in range(20):
                archive.writestr(f"{name}/{k}.png", picture(100 * n + k))
        archive.writestr("cat/torn.png", picture(999)[:60])
        archive.writestr("dog/letter.jpg", b"not an image")
    page = open_page()
    page.goto(f"{server.url}/data?dataset=demo&size=32")
    expect(heading(page, "Data")).to_be_visible(timeout=QUICK)
    settled(page)
    page.get_by_role("button", name="Upload an archive").click()
    page.locator("input[type=file]").set_input_files(path)
    expect(page.get_by_role("heading", name="Left out: 2 unreadable files")).to_be_visible(timeout=QUICK)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_an_invalid_entry_is_refused_in_place_and_no_input_is_lost(
    shown: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    page.goto(f"{shown.url}/probe?dataset=demo&size=32")
    expect(page.get_by_role("button", name="Run probe")).to_be_visible(timeout=QUICK)
    enter(page, "textbox", "Memory budget", "lots")
    expect(page.get_by_test_id("stAlertContentError")).to_be_visible(timeout=QUICK)
    expect(page.get_by_role("button", name="Run probe")).to_have_count(0, timeout=QUICK)
    go(page, "Data")
    go(page, "Probe")
    expect(page.get_by_role("textbox", name="Memory budget")).to_have_value("lots", timeout=QUICK)
    enter(page, "textbox", "Memory budget", "64KiB")
    expect(page.get_by_role("button", name="Run probe")).to_be_visible(timeout=QUICK)
    page.reload()
    expect(page.get_by_role("textbox", name="Memory budget")).to_have_value("64KiB", timeout=QUICK)


def test_a_pilot_is_cancelled_and_resumed(server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.goto(f"{server.url}/pilot?dataset=demo&size=16")
    enter(page, "textbox", "Seeds", "0")
    expect(page.get_by_text("2 runs")).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Classes in the first stage", "5")
    enter(page, "spinbutton", "Classes in each later stage", "5")
    enter(page, "spinbutton", "Training steps per stage", "100")  # enough that it is not done before the click
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("0 of 2 runs done")).to_be_visible(timeout=QUICK)
    page.get_by_role("button", name="Cancel").first.click()
    resume = page.get_by_role("button", name="Resume").first
    expect(resume).to_be_visible(timeout=QUICK)
    page.reload()
    expect(resume).to_be_visible(timeout=QUICK)
    resume.click()
    expect(page.get_by_text("Under way")).to_have_count(0, timeout=SLOW)
    expect(page.get_by_role("link", name="Next: compare the finished").first).to_be_visible(timeout=QUICK)


def test_a_server_for_others_asks_for_the_secret(tmp_path: Path, open_page: Callable[..., Page]) -> None:
    made = Server(tmp_path)
    made.environment["RECALLRATE_SECRET"] = "not to be guessed"
    made.start("0.0.0.0")
    try:
        page = open_page()
        page.goto(f"{made.url}/probe?dataset=/etc&size=32")
        expect(page.get_by_label("Shared secret").first).to_be_visible(timeout=QUICK)
        expect(page.get_by_test_id("stSidebar")).to_have_count(0)
        page.get_by_label("Shared secret").first.fill("not to be guessed")
        page.get_by_role("button", name="Enter").click()
        expect(page.get_by_text("/etc is outside the folders")).to_be_visible(timeout=QUICK)
        open_sidebar(page)
        other = page.context.new_page()
        other.goto(f"{made.url}/cost?dataset=demo&size=16")
        expect(heading(other, "Cost")).to_be_visible(timeout=QUICK)
        page.get_by_role("button", name="Log out").click()
        for each in (page, other):
            expect(each.get_by_label("Shared secret")).to_be_visible(timeout=QUICK)
        page.goto(f"{made.url}/cost")
        expect(page.get_by_label("Shared secret")).to_be_visible(timeout=QUICK)
    finally:
        made.kill()


def test_hostile_names_are_text_under_pictures_and_on_axes(
    server: Server, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    folder = hostile_dataset(tmp_path)
    page = open_page()
    page.goto(f"{server.url}/data?{urlencode({'dataset': str(folder), 'size': 16})}")
    captions = page.get_by_test_id("stMain").get_by_test_id("stCaptionContainer")
    expect(captions.nth(11)).to_be_visible(timeout=QUICK)
    settled(page)
    shown = [caption.inner_text() for caption in captions.all()]
    part = page.get_by_role("spinbutton", name=re.compile("at a time"))
    part.fill("2")
    part.press("Enter")
    expect(captions.first).not_to_have_text(shown[0], timeout=QUICK)
    settled(page)
    shown += [caption.inner_text() for caption in captions.all()]
    assert {name.replace("\u2060", "") for name in shown} >= {visible(name) for name in NAMES}
    assert page.get_by_test_id("stMain").locator("strong, em, del, .katex").count() == 0
    ticks = {tick.text_content() for tick in page.locator(".xaxislayer-above .xtick text").all()}
    assert ticks >= {visible(name) for name in NAMES}
