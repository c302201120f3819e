from __future__ import annotations

import stat
from pathlib import Path

import pytest
from embedpipe.local.databases import with_user
from embedpipe.local.directory import DataDirectory
from embedpipe.local.errors import LocalCloudError


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SINGLE_USER_API_KEY", raising=False)


def test_the_api_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path).api_key()
    second = DataDirectory(tmp_path).api_key()

    assert first == second
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "api_key").stat().st_mode) == 0o600


def test_a_given_api_key_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINGLE_USER_API_KEY", "given")

    assert DataDirectory(tmp_path).api_key() == "given"
    assert not (tmp_path / "api_key").exists()


def test_one_cloud_at_a_time_holds_a_directory(tmp_path: Path) -> None:
    def try_to_hold() -> None:
        with DataDirectory(tmp_path).lock():
            pass

    with DataDirectory(tmp_path).lock(), pytest.raises(LocalCloudError, match="already runs"):
        try_to_hold()

    try_to_hold()


def test_clearing_keeps_models_and_what_is_not_ours(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    for name in ("models", "postgres", "emulator", "photos"):
        (tmp_path / name).mkdir()
    directory.api_key()
    directory.port("worker")
    directory.write_endpoint({"url": "x"})

    directory.clear()

    assert {path.name for path in tmp_path.iterdir()} == {"models", "photos", "ports.json"}


@pytest.mark.parametrize("name", ["logs", "api_key", "ports.json"])
def test_files_of_others_are_neither_cleared_nor_taken_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"web": 80}')
    directory = DataDirectory(tmp_path)

    with pytest.raises(LocalCloudError, match="has files"):
        directory.clear()
    with pytest.raises(LocalCloudError, match="has files"), directory.lock():
        pass

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"web": 80}'


def test_a_directory_once_held_is_held_again_with_what_it_got_since(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    (tmp_path / "models").mkdir()

    with directory.lock():
        directory.api_key()

    with directory.lock():
        directory.clear()
    assert not (tmp_path / "api_key").exists()


def test_a_directory_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(LocalCloudError, match="cannot be used"),
        DataDirectory(tmp_path / "file").lock(),
    ):
        pass


def test_a_password_is_made_once_per_role(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)

    passwords = {role: directory.password(role) for role in ("a", "b")}

    assert passwords["a"] != passwords["b"]
    assert DataDirectory(tmp_path).password("a") == passwords["a"]


def test_another_user_is_put_into_a_url() -> None:
    url = with_user("postgresql://owner:secret@db.local:5433/x?sslmode=require", "app", "p@/ss")

    assert url == "postgresql://app:p%40%2Fss@db.local:5433/x?sslmode=require"
