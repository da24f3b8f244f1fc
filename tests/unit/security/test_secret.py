"""The fabric secret is read from its source, and never shown."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.errors import ConfigError
from fabric.security.secret import Keyring, from_command, from_file, made_once, parse

OLD, NEW = "an-old-secret-of-32-characters!!", "a-new-secret-of-32-characters!!!"


@pytest.mark.requirement("S10")
def test_two_secrets_are_in_use_while_one_replaces_the_other() -> None:
    for text in (f"{NEW},{OLD}", f"{NEW}\n{OLD}\n", f" {NEW} \r\n\n{OLD}"):
        keyring = parse(text, where="test")
        assert keyring.ids == (parse(NEW, where="test").ids[0], parse(OLD, where="test").ids[0])
        assert keyring.signing_id == keyring.ids[0]


@pytest.mark.requirement("S10")
def test_key_ids_are_fingerprints_and_all_that_a_repr_shows() -> None:
    keyring = parse(f"{NEW},{OLD}", where="test")
    assert all(re.fullmatch("[0-9a-f]{8}", id) for id in keyring.ids)
    assert repr(keyring) == f"Keyring({keyring.ids[0]}, {keyring.ids[1]})"


def test_each_purpose_and_each_secret_has_a_key_of_its_own() -> None:
    keyring = Keyring([NEW.encode(), OLD.encode()])
    keys = {keyring.subkey(purpose, id) for purpose in ("a", "b") for id in keyring.ids}
    assert {len(key) for key in keys} == {32}
    assert len(keys) == 4
    assert keyring.subkey("a", keyring.ids[1]) == Keyring([OLD.encode()]).subkey("a", keyring.ids[1])


@pytest.mark.requirement("S10")
@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "holds no secret"), (" \n,", "holds no secret"), ("too short", "a secret of 9 bytes"), ("a,b,c", "holds 3 secrets")],
)
def test_an_invalid_secret_is_refused_without_being_quoted(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse(text, where="FABRIC_SECRET")
    assert str(caught.value).startswith("FABRIC_SECRET: ")
    assert "too short" not in str(caught.value)


@pytest.mark.requirement("S10")
def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(NEW + "\n")
    path.chmod(0o600)
    assert from_file(path).ids == parse(NEW, where="").ids
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
            from_file(path)


@pytest.mark.requirement("S10")
def test_an_unreadable_secret_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigError, match=f"{path}: no such secret file; make one with"):
        from_file(path)
    path.write_bytes(b"\xff" * 32)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is not text"):
        from_file(path)


@pytest.mark.requirement("S10")
def test_a_secret_may_come_from_the_output_of_a_command() -> None:
    assert from_command(["printf", "%s", NEW], where="test").ids == parse(NEW, where="").ids
    for command, reason in [
        (["false"], "`false` ended with status 1"),
        (["true"], "holds no secret"),
        (["no-such-program-here"], "cannot be run: No such file"),
        (["printf", "\\377"], "not text"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            from_command(command, where="secretCommand")


@pytest.mark.requirement("S10")
def test_processes_that_race_to_make_the_secret_agree_on_one(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from fabric.security.secret import made_once; "
    program += "sys.stdin.read(); print(*made_once(Path(sys.argv[1])).ids)"
    racers = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.close()  # this starts it
        racer.stdin = None
    ids = {racer.communicate(timeout=30)[0].strip() for racer in racers}
    assert ids == {made_once(tmp_path).signing_id}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_folder_that_cannot_hold_the_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(ConfigError, match="cannot be made here"):
            made_once(tmp_path / name)
