"""`mcp-fabric ls`: the servers and workers as a table and as JSON, and its messages without a fabric."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.brokers import FAMILIES
from tests.fabrics import SECRET, run, up
from tests.integration.conftest import BROKEN, ECHO, Write, servers, until

pytestmark = pytest.mark.requirement("C03")


def test_ls_shows_every_server_and_every_worker(running: Path) -> None:
    done = run("ls", state=running)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["server", "conformance", "git", "time", "worker", "bridge", "edge"]
    assert "healthy" in lines[3]
    assert lines[6][3].startswith("http://127.0.0.1:")


def test_ls_json_contains_what_the_table_shows(running: Path) -> None:
    done = run("ls", "--json", state=running)
    listed = json.loads(done.stdout)
    assert [server["name"] for server in listed["servers"]] == ["conformance", "git", "time"]
    assert [worker["role"] for worker in listed["workers"]] == ["bridge", "edge"]
    time = listed["servers"][2]
    assert (time["health"], time["bridges"], time["free"]) == ("healthy", 1, 64)
    assert "modern" in time["eras"]


def test_ls_does_not_join_the_fabric(running: Path) -> None:
    first, second = (json.loads(run("ls", "--json", state=running).stdout)["workers"] for _ in range(2))
    assert first == second


def test_a_server_that_fails_to_start_is_unhealthy_while_others_serve(tmp_path: Path, config: Write) -> None:
    with up(config(echo=ECHO, broken=BROKEN), tmp_path) as process:
        process.ready()
        until(lambda: [server["health"] for server in servers(tmp_path)] == ["unhealthy", "healthy"])
        broken, _ = servers(tmp_path)
        assert run("call", "echo", "echo", "text=still here", state=tmp_path).stdout == "still here\n"
    assert "no database" in broken["reason"]


def test_without_a_running_fabric_ls_names_the_command_that_starts_one_and_creates_no_files(tmp_path: Path) -> None:
    done = run("ls", state=tmp_path / "none")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mcp-fabric: no fabric is running here; start one: mcp-fabric up CONFIG\n"
    assert not (tmp_path / "none").exists()


def test_ls_does_not_show_a_fabric_of_another_name(running: Path) -> None:
    done = run("ls", "--fabric", "another", state=running)
    assert done.returncode == 3
    assert done.stderr == "mcp-fabric: nobody answers in fabric 'another'; start it: mcp-fabric up CONFIG --fabric another\n"


def test_without_workers_ls_names_the_commands_of_a_cluster_without_the_brokers_password(tmp_path: Path) -> None:
    server = next(family for family in FAMILIES if family.name == "nats").make(tmp_path).start()
    try:
        done = run("ls", "--broker", server.url, state=tmp_path, FABRIC_SECRET=SECRET)
        called = run("call", "time", "x", "--broker", server.url, state=tmp_path, FABRIC_SECRET=SECRET)
    finally:
        server.release()
    where = f"CONFIG --broker 'nats://***@{server.url.rpartition('@')[2]}'"
    assert (done.returncode, called.returncode) == (3, 3)
    start = f"start it: mcp-fabric bridge {where}"
    assert done.stderr == f"mcp-fabric: nobody answers in fabric 'default'; {start} and mcp-fabric edge {where}\n"
    assert called.stderr == f"mcp-fabric: nobody serves 'time'; {start}\n"


def test_a_state_folder_of_another_user_is_refused_with_its_owner(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    if os.geteuid() == 0:
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 12345, 12345)
        owner = "user 12345"
    else:
        foreign, owner = Path("/"), "root"
    for command in (("ls",), ("connect", "time"), ("up", "stdio:cat")):
        done = run(*command, state=tmp_path, FABRIC_STATE=str(foreign))
        assert done.returncode == 2
        message = f"{foreign}: the state folder belongs to {owner}, and nobody else may enter it; FABRIC_STATE names another"
        assert done.stderr.splitlines()[-1] == f"mcp-fabric: {message}"
