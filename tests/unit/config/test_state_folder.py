"""The state folder is where the environment says, and only its user can enter it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fabric.config.state_folder import prepare, state_path
from fabric.errors import ConfigError


def test_the_state_folder_is_below_the_folder_that_the_environment_names(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert state_path(home) == tmp_path / ".local/state/mcp-fabric"
    assert state_path({**home, "XDG_STATE_HOME": "/x"}) == Path("/x/mcp-fabric")
    assert state_path({**home, "XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "mcp-fabric"
    assert state_path({**home, "XDG_RUNTIME_DIR": str(tmp_path / "absent")}) == tmp_path / ".local/state/mcp-fabric"


def test_only_a_folder_that_others_cannot_enter_is_used(tmp_path: Path) -> None:
    assert stat.S_IMODE(prepare(tmp_path / "a" / "state").stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "state")
    for name, reason in [("open", "chmod 700"), ("link", "is a link or a file")]:
        with pytest.raises(ConfigError, match=reason):
            prepare(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "state")
    os.chown(folder, 1, 1)
    with pytest.raises(ConfigError, match=r"belongs to .*, and nobody else may enter it"):
        prepare(folder)
