"""`embedpipe up` itself, and the verbs beside it."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, gone, with_model
from tests.localstack import endpoint_url

pytestmark = pytest.mark.usefixtures("cloud")


def test_the_verbs_ingest_search_and_list(cloud: Cloud, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "tea.md").write_text("# Tea\n\nGreen tea is steeped at 80 degrees.")
    (folder / "rain.txt").write_text("Clouds bring rain in autumn.")
    (folder / "image.bin").write_bytes(b"\0\1\2")
    (folder / ".hidden").write_text("secret")

    ingested = cloud.run("ingest", str(folder), "--metadata", "from=cli", "--json")
    found = cloud.run("search", "how hot should the water be?", "--filter", "from=cli", "--json")
    listed = cloud.run("jobs", "--json", "--limit", "2")
    doctor = cloud.run("doctor", "--json")

    assert ingested.returncode == 0, ingested.stderr
    report = json.loads(ingested.stdout)
    assert report["documents"] == 2
    assert report["skipped"] == {"binary": 1, "hidden": 1}
    assert json.loads(found.stdout)[0]["document_id"] == "inner:tea.md"
    assert {job["document_id"] for job in json.loads(listed.stdout)} == {"inner:tea.md", "rain.txt"}
    assert doctor.returncode == 0, doctor.stdout


def test_a_second_cloud_on_the_same_data_is_refused(cloud: Cloud) -> None:
    second = cloud.run("up", "--port", "0")

    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert cloud.url in second.stderr
    assert second.stdout == ""


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = Cloud(tmp_path).run("up", "--port", str(port))

    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr


@pytest.mark.skipif(endpoint_url() is not None, reason="LocalStack's queues do not outlive a stop")
@pytest.mark.timeout(240)
def test_data_outlives_a_stop_and_no_process_does(models_dir: Path, tmp_path: Path) -> None:
    cloud = Cloud(with_model(tmp_path, models_dir))
    cloud.start()
    with cloud.client() as client:
        client.store("default", "Lighthouses warn ships at night.", "light")
    processes = cloud.processes()

    code = cloud.stop()
    left = gone(processes)

    assert (code, left) == (0, [])
    assert len(processes) > 6

    cloud.start()
    with cloud.client() as client:
        [hit] = client.search("default", "what warns ships?")
        client.store("default", "A later document.", "later")
    processes = cloud.processes()
    assert hit["document_id"] == "light"

    cloud.send(signal.SIGKILL)
    cloud.wait()
    assert gone(processes) == []
