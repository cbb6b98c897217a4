"""What doctor says of nodes: shared folder, versions, clock, token; each fault names the node and the remedy."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest

from engine.commands import cluster_findings
from engine.commands.cluster_findings import ALIKE, of_node, token, versions
from engine.execution.node_facts import OF_DRIVER, NodeFacts, look_around, version_of


def node(address: str = "10.0.0.2", **more: Any) -> NodeFacts:
    own = {name: version_of(name) for name in ALIKE}
    facts = {
        "python": platform.python_version(),
        "packages": own,
        "mb_per_second": 200.0,
        "resources": {"CPU": 8.0},
    }
    return NodeFacts(address=address, **(facts | more))


def test_a_node_that_is_well_says_what_it_has() -> None:
    (found,) = of_node(node(resources={"CPU": 8.0, "GPU": 1.0}), "/shared/runs")
    assert (found.state, found.what) == ("ok", "node 10.0.0.2")
    assert found.text == "8 CPU, 1 GPU; /shared/runs read and written, 200 MB/s"


@pytest.mark.parametrize(
    ("more", "state", "said"),
    [
        (
            {"answered": False, "problem": "node died"},
            "missing",
            "does not answer (node died); see `ray status`",
        ),
        ({"problem": "No such file"}, "missing", "/shared/runs: No such file; mount one folder"),
        ({"mb_per_second": 3.0}, "slow", "read and written, 3 MB/s"),
        ({"ahead": -7.2}, "note", "its clock is 7 s behind; start a time service"),
        ({"ahead": 90.0}, "note", "its clock is 90 s ahead"),
    ],
)
def test_each_fault_is_a_line_with_its_remedy(more: dict[str, Any], state: str, said: str) -> None:
    last = of_node(node(**more), "/shared/runs")[-1]
    assert last.state == state and said in last.text


def test_other_versions_name_the_nodes() -> None:
    other = node("10.0.0.3", packages={name: version_of(name) for name in ALIKE} | {"torch": "2.11.0"})
    assert [found.state for found in versions([node()])] == ["ok"]
    (found,) = versions([node(), other, node("10.0.0.4", answered=False)])
    assert (found.state, found.what) == ("missing", "torch")
    assert found.text.startswith(f"2.11.0 on 10.0.0.3, {version_of('torch')} here; install")


def test_no_token_is_noted_where_others_may_reach_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert token([node("127.0.0.1")]).state == "ok"
    assert token([node("127.0.0.1"), node("10.0.0.3")]).state == "note"
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert token([node("10.0.0.3")]).state == "ok"


def test_a_folder_that_cannot_be_written_here_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    def visit(_address: str, output: Path, _packages: object) -> None:
        (output / "probe").mkdir(parents=True)

    monkeypatch.setattr("engine.execution.ray_nodes.visit", visit)
    (found,) = cluster_findings.visited("127.0.0.1:6379", str(tmp_path / "file"))
    assert found.state == "missing" and "cannot be written from here" in found.text


def test_a_node_reads_what_the_driver_wrote_and_writes_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / OF_DRIVER).write_text("secret")
    facts = look_around(tmp_path, "secret", ("torch", "no-such-package"))
    assert facts.problem == "" and facts.mb_per_second > 0
    assert (tmp_path / facts.wrote).read_bytes()[:6] == b"secret"
    assert facts.packages == {"torch": version_of("torch"), "no-such-package": ""}


def test_a_node_that_sees_another_folder_says_so(tmp_path: Path) -> None:
    assert "not shared with this node" in look_around(tmp_path / "elsewhere", "secret", ()).problem
    (tmp_path / OF_DRIVER).write_text("of an older probe")
    assert "an old copy" in look_around(tmp_path, "secret", ()).problem
    assert [path.name for path in tmp_path.iterdir()] == [OF_DRIVER], "nothing is written there"
