"""The built wheel, installed beside the libraries of this environment and used from an empty folder.

A clone has all files; a wheel only has those that were packed, such as weights, catalogues, fonts and templates.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

pytestmark = pytest.mark.wheel

CLONE = Path(__file__).parents[2]
FONTS = {"NotoSansCJKjp-Regular", "NotoSansCJKjp-Bold"}


def tracked() -> list[str]:
    """Existing files of the clone that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CLONE, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (CLONE / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built only from tracked files, since leftovers of earlier builds would be packed too."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CLONE / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(source)]
    subprocess.run(pip, check=True)
    (found,) = built.glob("*.whl")
    return found


class Installation:
    """A second environment with the wheel and the libraries of this one."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.python = folder / "venv" / "bin" / "python"
        self.command = self.python.with_name("recallrate")
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, str(wheel)], check=True)
        libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.environment |= {"RECALLRATE_RUNS": str(folder / "runs"), "RECALLRATE_CACHE": str(folder / "cache")}

    def run(self, *command: str | Path) -> str:
        """The output of a command that succeeds in the empty folder."""
        done = subprocess.run(command, cwd=self.elsewhere, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    found = Installation(tmp_path_factory.mktemp("installed"), wheel)
    where = Path(found.run(found.python, "-c", "import toolkit; print(toolkit.__file__)").strip())
    assert found.python.parents[1] in where.parents
    assert CLONE not in where.parents
    return found


def test_the_wheel_contains_exactly_the_files_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in tracked() if name.startswith("toolkit/")}


def test_the_small_neural_codec_codes_and_decodes(installed: Installation) -> None:
    codec = ["--codec", "neural:model=small,quality=1", "--images", "8", "--extractor", "random"]
    found = json.loads(installed.run(installed.command, "images", "demo", *codec, "--json", "-"))
    assert found["codec"] == "neural:model=small,quality=1"
    assert len(found["images"]) == 8
    assert all(0 < image["stored_bytes"] < 32 * 32 * 3 for image in found["images"])
    assert all(image["psnr"] > 15 for image in found["images"])


def test_the_report_is_a_pdf_with_its_fonts(installed: Installation) -> None:
    training = ["--steps", "2", "--initial", "5", "--network", "resnet8", "--threads", "1"]
    installed.run(installed.command, "pilot", "demo", "--codec", "jpeg:quality=50", *training)
    runs = installed.environment["RECALLRATE_RUNS"]
    installed.run(installed.command, "report", runs, "-o", "report.pdf", "--lang", "ja")
    pages = PdfReader(io.BytesIO((installed.elsewhere / "report.pdf").read_bytes())).pages
    fonts = [font.get_object() for page in pages for font in resources(page).get("/Font", {}).values()]
    inner = [one.get_object()["/FontDescriptor"].get_object() for font in fonts for one in font["/DescendantFonts"]]
    assert all("/FontFile3" in one or "/FontFile2" in one for one in inner)
    assert {str(one["/FontName"]).split("+")[-1] for one in inner} >= FONTS
    assert "どこまで圧縮できるか" in "".join(page.extract_text() for page in pages)


def resources(page: Any) -> Any:
    return page["/Resources"].get_object()


@pytest.fixture
def app(installed: Installation) -> Iterator[str]:
    """The address at which ``recallrate app`` answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(installed.command), "app", "--port", str(port)]
    log = installed.elsewhere / "app.log"
    with log.open("wb") as printed:
        environment = installed.environment | {"STREAMLIT_SERVER_HEADLESS": "true"}
        server = subprocess.Popen(
            command,
            cwd=installed.elsewhere,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 120
        while not answers(f"{address}/_stcore/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def test_the_app_answers(app: str) -> None:
    with urllib.request.urlopen(app, timeout=60) as page:
        assert b"<title>" in page.read()


def test_the_app_draws_its_first_page(installed: Installation) -> None:
    script = (
        "from streamlit import config\n"
        "from streamlit.testing.v1 import AppTest\n"
        "from toolkit.ui.serving import SCRIPT\n"
        "config.set_option('server.address', '127.0.0.1')\n"  # as `recallrate app` does; other addresses are locked
        "page = AppTest.from_file(SCRIPT, default_timeout=120).run()\n"
        "assert not page.exception and not page.error, page\n"
        "assert [title.value for title in page.title] == ['Study'], page\n"
    )
    installed.run(installed.python, "-c", script)
