"""The app as a whole and its Data page, drawn without a browser."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from drawn_pages import SHELL, data_page, drawn
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.testing.v1 import AppTest

from toolkit.ui.serving import SCRIPT


def test_importing_the_app_does_not_import_torch() -> None:
    code = (
        "import sys, toolkit.ui.shell\n"
        "assert 'toolkit.codecs.file_formats' in sys.modules\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=SHELL.parent)
    assert done.stdout.split() == ["False"]


def test_the_installed_app_has_the_settings_of_the_clone() -> None:
    beside = Path(".streamlit") / "config.toml"
    assert (SCRIPT.parent / beside).read_text() == (SHELL.parent / beside).read_text()


def test_the_app_opens_on_the_demo_set(runs_dir: Path) -> None:
    app = AppTest.from_file(str(SHELL), default_timeout=120).run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Study"]
    assert any("raw images per class" in caption.value for caption in app.caption), "the demo set is open"


def test_the_address_chooses_dataset_and_size(runs_dir: Path) -> None:
    app = AppTest.from_file(str(SHELL), default_timeout=120)
    app.query_params["dataset"] = "demo"
    app.query_params["size"] = "16"
    app.run()
    assert not app.exception
    assert app.text_input(key="size").value == "16"
    app.text_input(key="size").set_value("24x32").run()
    assert (app.query_params["dataset"], app.query_params["size"]) == ("demo", "24x32")


def test_a_browser_that_missed_the_first_drawing_keeps_the_dataset(runs_dir: Path, tmp_path: Path) -> None:
    """A superseded drawing may never arrive; the fields of the next one start with their defaults."""
    app = AppTest.from_file(str(SHELL), default_timeout=120)
    app.query_params["dataset"] = str(tmp_path)
    app.query_params["size"] = "16"
    app.run()
    app.run()
    where, size = app.text_input(key="dataset").proto, app.text_input(key="size").proto
    assert (where.set_value, where.default, size.set_value, size.default) == (False, str(tmp_path), False, "16")
    next(button for button in app.button if button.label == "Back to the demo").click().run()
    assert app.text_input(key="dataset").value == "demo"
    assert not app.warning, "Streamlit warns of a default beside a value of the program's"
    app.run()
    assert app.text_input(key="dataset").proto.default == "demo"


@pytest.mark.parametrize("size", ["", "-1", "7", "5000", "big", "24x", "24x7", "٣٢٣٢"])
def test_an_invalid_size_in_the_address_is_corrected(runs_dir: Path, size: str) -> None:
    app = AppTest.from_file(str(SHELL), default_timeout=120)
    app.query_params["size"] = size
    app.run()
    assert not app.exception
    assert app.text_input(key="size").value == "32"


def test_data_page_reports_an_error_in_one_line(runs_dir: Path, tmp_path: Path) -> None:
    app = drawn(data_page, dataset=str(tmp_path / "nowhere"))
    assert len(app.error) == 1
    assert "nowhere' does not exist" in app.error[0].value
    assert "\n" not in app.error[0].value


def test_an_upload_is_saved_once_under_a_name_from_its_content(runs_dir: Path) -> None:
    from toolkit.data.uploads import keep_upload, uploads_dir
    from toolkit.foundation.errors import UsageError

    first = keep_upload("my pictures.zip", io.BytesIO(b"PK"))
    assert keep_upload("my pictures.zip", io.BytesIO(b"PK")) == first
    assert keep_upload("my pictures.zip", io.BytesIO(b"PK2")) != first
    assert first.parent == uploads_dir() == runs_dir.parent / "uploads"
    assert first.read_bytes() == b"PK"
    with pytest.raises(UsageError, match=r"expected a \.zip or \.npz"):
        keep_upload("notes.txt", io.BytesIO(b""))


def test_an_upload_is_chosen_and_leaves_memory(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.data.uploads import uploads_dir

    held: list[int] = []
    forget = MemoryUploadedFileManager.remove_session_files

    def remove(files: MemoryUploadedFileManager, session: str) -> None:
        held.append(len(files.file_storage[session]))
        forget(files, session)
        held.append(len(files.file_storage.get(session, {})))

    monkeypatch.setattr(MemoryUploadedFileManager, "remove_session_files", remove)
    app = AppTest.from_file(str(SHELL), default_timeout=120).run()
    for name in ("pets", "cars"):
        app.file_uploader[0].set_value((f"{name}.zip", name.encode(), "application/zip")).run()
        assert not app.exception
        taken = Path(app.text_input(key="dataset").value)
        assert taken.parent == uploads_dir()
        assert taken.read_bytes() == name.encode()
        assert app.file_uploader[0].value is None, "the field is empty again"
    assert held == [1, 0, 1, 0]


@pytest.mark.parametrize("dataset", ["~no-such-user-here/x", "a\0b"])
def test_an_invalid_path_gives_one_line(runs_dir: Path, dataset: str) -> None:
    app = drawn(data_page, dataset=dataset)
    assert "not a path" in app.error[0].value
