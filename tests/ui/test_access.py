"""Who may use the app, and which files it opens."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import toolkit
from toolkit.cli import run
from toolkit.codecs.spec import grid_paths
from toolkit.foundation.errors import UsageError
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.request import pilot_command
from toolkit.probe.request import ImagesRequest
from toolkit.ui import access, shell
from toolkit.ui.gateway.logins import LOGINS

ROOT = Path(toolkit.__file__).parent
APP = ROOT.parent / "app.py"
SECRET = "a shared secret of some length"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the server listened on every address."""
    monkeypatch.setattr(access, "listens_elsewhere", lambda: True)


@pytest.mark.parametrize(
    ("email", "verified", "enters"),
    [
        ("ann@lab.example", True, True),
        ("ANN@Lab.Example", True, True),
        ("bob@firm.example", True, True),
        ("eve@firm.example", True, False),
        ("ann@lab.example", False, False),
        ("", True, False),
        ("@lab.example", True, False),
        ("ann@evil.example@lab.example.org", True, False),
    ],
)
def test_only_named_accounts_enter(monkeypatch: pytest.MonkeyPatch, email: str, verified: bool, enters: bool) -> None:
    monkeypatch.setenv(access.USERS, "@lab.example, bob@firm.example")
    assert access.may_enter(email, verified) == enters


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("127.1.2.3", True),
        ("0.0.0.0", False),
        (None, False),
        ("", False),
        ("192.168.0.7", False),
        ("example.org", False),
        ("::", False),
    ],
)
def test_only_loopback_addresses_are_local(address: str | None, local: bool) -> None:
    assert access.is_local(address) == local


def test_a_server_for_other_machines_needs_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.SECRET, raising=False)
    assert access.why_closed("127.0.0.1", oidc=False) is None
    monkeypatch.delenv(access.USERS, raising=False)
    assert "allowed accounts" in (access.why_closed("0.0.0.0", oidc=True) or "")
    monkeypatch.setenv(access.USERS, "@lab.example")
    assert access.why_closed("0.0.0.0", oidc=True) is None
    assert "maxUploadSize 200" in (access.why_closed("0.0.0.0", oidc=True, upload_megabytes=4096) or "")
    assert "without a login" in (access.why_closed("0.0.0.0", oidc=False) or "")
    monkeypatch.setenv(access.SECRET, "short")
    assert "at least 12 characters, got 5" in (access.why_closed("0.0.0.0", oidc=False) or "")
    monkeypatch.setenv(access.SECRET, SECRET)
    assert access.why_closed("0.0.0.0", oidc=False) is None


def test_nothing_is_shown_without_the_gateway(runs_dir: Path, elsewhere: None) -> None:
    """As with ``streamlit run toolkit/ui/script.py``, which never asks for the secret."""
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not app.exception
    assert "server is locked" in app.error[0].value
    assert "machines" not in app.error[0].value, "strangers are not told why"
    assert not app.title
    assert not app.text_input


def test_a_session_through_the_gateway_sees_the_app_and_belongs_to_its_login(
    runs_dir: Path, elsewhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = LOGINS.of_token(LOGINS.begin())
    assert login is not None
    monkeypatch.setattr(access, "own_login", lambda: login)
    monkeypatch.setattr(shell, "listens_elsewhere", lambda: True)
    app = AppTest.from_file(str(APP), default_timeout=120).run()
    assert not app.exception
    assert [title.value for title in app.title] == ["Study"]
    assert len(login.sessions) == 1
    assert "Log out" in [button.label for button in app.button]


def test_missing_secrets_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    class Absent:
        def __contains__(self, name: object) -> bool:
            looked.append(str(name))
            raise FileNotFoundError

    access.has_oidc.cache_clear()
    monkeypatch.setattr("streamlit.secrets", Absent())
    assert [access.has_oidc() for _ in range(60)] == [False] * 60
    assert looked == ["auth"]
    access.has_oidc.cache_clear()


def test_paths_outside_the_roots_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: None) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    monkeypatch.setenv(access.ROOTS, str(inside))
    access.require_allowed_dataset("demo")
    with pytest.raises(UsageError, match="does not start such downloads"):
        access.require_allowed_dataset("torchvision:CIFAR100")
    access.require_allowed_dataset(str(inside / "images"))
    access.require_allowed_dataset(f"{inside / 'images'}?train=a&test=b")
    with pytest.raises(UsageError, match="--train takes a folder inside the dataset"):
        access.require_allowed_dataset(f"{outside / 'set'}?train=/../../inside/images")
    for path in (outside, inside / ".." / "outside", inside / "link" / "images", Path("/etc/passwd")):
        with pytest.raises(UsageError, match="outside the folders"):
            access.require_allowed_dataset(str(path))
    with pytest.raises(UsageError, match="outside the folders"):
        access.require_allowed_codecs(f"raw;learned-jpeg:tables={outside / 't.json'}")
    access.require_allowed_codecs(f"raw;downscale:factor=2|learned-jpeg:tables={inside / 't.json'}")
    with pytest.raises(UsageError, match="outside the folders"):
        access.require_allowed_extractor(f"checkpoint:{outside / 'weights.pt'}")
    access.require_allowed_extractor("timm:resnet18")


def test_the_working_folder_and_the_cache_are_allowed_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: None
) -> None:
    monkeypatch.delenv(access.ROOTS, raising=False)
    monkeypatch.chdir(tmp_path)
    access.require_allowed(tmp_path / "images")
    access.require_allowed(Path(os.environ["RECALLRATE_CACHE"]) / "datasets")
    with pytest.raises(UsageError, match="outside the folders"):
        access.require_allowed(tmp_path.parent)


def test_a_local_server_opens_any_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.ROOTS, raising=False)
    monkeypatch.setattr(access, "listens_elsewhere", lambda: False)
    access.require_allowed("/etc")


def test_files_named_in_grids_are_found_without_opening_them() -> None:
    grid = "raw;downscale:factor={2,3}|learned-jpeg:tables={/no/a.json,/no/b.json};jpeg:quality={10,20}"
    assert set(grid_paths(grid)) == {"/no/a.json", "/no/b.json"}
    assert grid_paths("raw;jpeg:quality=5;") == []


def test_the_data_page_refuses_in_one_line(runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.ROOTS, str(tmp_path / "inside"))
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["dataset"] = "/etc"
    app.run()
    assert not app.exception
    assert "/etc is outside the folders" in app.error[0].value
    assert app.text_input(key="dataset").value == "/etc"


SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_shell_no_eval_no_pickle(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput"), f"{name} in {path}"
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("shell", "False") == "False", path
            if name == "torch.load":
                assert given.get("weights_only") == "True", path
            if name == "np.load":
                assert given.get("allow_pickle", "False") == "False", path
            assert not name.startswith(("pickle.load", "pickle.Unpickler", "marshal.", "dill.")), path
            if name == "st.html":
                assert ast.unparse(node.args[0]).isupper(), f"only constants are shown as HTML: {path}"
            assert given.get("unsafe_allow_html", "False") == "False", path


EVIL = 'images\'; touch /tmp/owned; $(reboot) `id` "x" && <b>'


def test_commands_quote_user_input(tmp_path: Path) -> None:
    folder = str(tmp_path / EVIL)
    config = make_pilot_config(dataset=folder, size=32, initial=2, increment=2, codec="raw", budget="20img")
    words = shlex.split(pilot_command(config, [0]))
    assert words[:3] == ["recallrate", "pilot", folder]
    words = shlex.split(ImagesRequest(folder, 32, "raw").command())
    assert words[:3] == ["recallrate", "images", folder]


def test_run_folder_names_have_no_shell_or_path_characters(tmp_path: Path) -> None:
    config = make_pilot_config(
        dataset=str(tmp_path / EVIL), size=32, initial=2, increment=2, codec="raw", budget="20img"
    )
    for name in (config.run_name(0), ImagesRequest(str(tmp_path / EVIL), 32, "raw").run_name()):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
        assert ".." not in name


def test_roots_given_to_the_script_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.ROOTS, "")
    access.read_roots(["--other", "x"])
    assert os.environ[access.ROOTS] == ""
    with pytest.raises(UsageError, match="not a folder"):
        access.read_roots(["--root", str(tmp_path / "a")])
    with pytest.raises(UsageError, match="takes a folder"):
        access.read_roots(["--root"])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    access.read_roots(["--root", str(tmp_path / "a"), "--root", str(tmp_path / "b")])
    assert os.environ[access.ROOTS] == f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}"


def test_the_command_refuses_a_public_address_without_a_login(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def call(command: list[str], env: dict[str, str]) -> int:
        started.append((command, env))
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    monkeypatch.delenv(access.SECRET, raising=False)
    assert run(["app", "--address", "0.0.0.0"]) == 2
    assert "the app does not start" in capsys.readouterr().err
    assert not started
    monkeypatch.setenv(access.SECRET, SECRET)
    assert run(["app", "--address", "0.0.0.0", "--root", str(tmp_path)]) == 0
    ((command, environment),) = started
    assert command[command.index("--server.address") + 1] == "0.0.0.0"
    assert environment[access.ROOTS] == str(tmp_path)
