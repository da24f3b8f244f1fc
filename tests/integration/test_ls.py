"""`mcp-fabric ls`: who is there, as a table and as JSON, and what it says when nobody is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.brokers import FAMILIES
from tests.fabrics import SECRET, ask, up
from tests.integration.conftest import BROKEN, ECHO, Write, servers, until

pytestmark = pytest.mark.requirement("C03")


def test_it_shows_every_server_and_every_worker(running: Path) -> None:
    done = ask("ls", state=running)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["server", "conformance", "git", "time", "worker", "bridge", "edge"]
    assert "healthy" in lines[3]
    assert lines[6][3].startswith("http://127.0.0.1:")


def test_json_holds_what_the_table_shows(running: Path) -> None:
    done = ask("ls", "--json", state=running)
    said = json.loads(done.stdout)
    assert [server["name"] for server in said["servers"]] == ["conformance", "git", "time"]
    assert [worker["role"] for worker in said["workers"]] == ["bridge", "edge"]
    time = said["servers"][2]
    assert (time["health"], time["bridges"], time["free"]) == ("healthy", 1, 64)
    assert "modern" in time["eras"]


def test_it_takes_no_part_so_that_two_see_the_same(running: Path) -> None:
    first, second = (json.loads(ask("ls", "--json", state=running).stdout)["workers"] for _ in range(2))
    assert first == second


def test_a_server_that_does_not_start_is_unhealthy_with_its_reason_while_others_serve(tmp_path: Path, config: Write) -> None:
    with up(config(echo=ECHO, broken=BROKEN), tmp_path) as process:
        process.ready()
        process.ready()
        until(lambda: [server["health"] for server in servers(tmp_path)] == ["unhealthy", "healthy"])
        broken, _ = servers(tmp_path)
        assert ask("call", "echo", "echo", "text=still here", state=tmp_path).stdout == "still here\n"
    assert "no database" in broken["reason"]


def test_without_a_fabric_it_says_how_to_start_one_and_leaves_nothing(tmp_path: Path) -> None:
    done = ask("ls", state=tmp_path / "none")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "mcp-fabric: no fabric is running here; start one: mcp-fabric up CONFIG\n"
    assert not (tmp_path / "none").exists()


def test_a_fabric_of_another_name_on_the_same_broker_is_not_there(running: Path) -> None:
    done = ask("ls", "--fabric", "another", state=running)
    assert done.returncode == 3
    assert done.stderr == "mcp-fabric: nobody answers in fabric 'another'; start it: mcp-fabric up CONFIG --fabric another\n"


def test_in_a_cluster_it_names_the_commands_of_one_without_the_brokers_password(tmp_path: Path) -> None:
    server = next(family for family in FAMILIES if family.name == "nats").make(tmp_path).start()
    try:
        done = ask("ls", "--broker", server.url, state=tmp_path, FABRIC_SECRET=SECRET)
        called = ask("call", "time", "x", "--broker", server.url, state=tmp_path, FABRIC_SECRET=SECRET)
    finally:
        server.release()
    where = f"CONFIG --broker 'nats://***@{server.url.rpartition('@')[2]}'"
    assert (done.returncode, called.returncode) == (3, 3)
    start = f"start it: mcp-fabric bridge {where}"
    assert done.stderr == f"mcp-fabric: nobody answers in fabric 'default'; {start} and mcp-fabric edge {where}\n"
    assert called.stderr == f"mcp-fabric: nobody serves 'time'; {start}\n"


def test_a_state_folder_of_another_user_is_named_with_its_owner(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    if os.geteuid() == 0:
        foreign.mkdir(mode=0o700)
        os.chown(foreign, 12345, 12345)
        owner = "user 12345"
    else:
        foreign, owner = Path("/"), "root"
    for command in (("ls",), ("connect", "time"), ("up", "stdio:cat")):
        done = ask(*command, state=tmp_path, FABRIC_STATE=str(foreign))
        assert done.returncode == 2
        said = f"{foreign}: the state folder belongs to {owner}, and nobody else may enter it; FABRIC_STATE names another"
        assert done.stderr.splitlines()[-1] == f"mcp-fabric: {said}"
