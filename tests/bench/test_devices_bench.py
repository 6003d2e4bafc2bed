"""Several devices: what is counted and timed, and that the tables show it."""

import dataclasses
import json

import pytest

from crossbow_lab.bench import devices
from crossbow_lab.bench.devices import QUICK, TWO, bytes_sent, devices_tables, iteration_milliseconds

EXTENT = dataclasses.replace(QUICK, models=("logreg",), learners=2, batch_size=4, iterations=5)


def test_iterations_are_timed_and_bytes_counted():
    """The payload is one model whatever the learners; what the system counts is not much more."""
    with devices._session("logreg", EXTENT) as one, devices._session("logreg", EXTENT, devices=TWO) as two:
        found = iteration_milliseconds(one, two, EXTENT)
        sent = bytes_sent(two, EXTENT)

    assert min(found[name]["median"] for name in ("one_ms", "two_overlapped_ms", "two_ms")) > 0
    assert found["times_as_long"]["median"] == pytest.approx(
        found["two_overlapped_ms"]["median"] / found["one_ms"]["median"]
    )
    assert sent["model"] == 4 * 650
    assert sent["payload"]["1"] == sent["payload"]["2"] == 4 * 704  # rows are padded to 256 bytes
    if sent["wire"]["1"] is not None:
        assert sent["wire"]["1"] > 4 * 650


@pytest.mark.slow
def test_the_whole_is_plain_json_and_its_tables_show_every_number():
    """Each thing once."""
    result = json.loads(json.dumps(devices.measure_devices(EXTENT, lambda _: None)))

    assert [made.row_count for made in devices_tables(result)] == [1, 2, 4]
    assert 0 < result["detection_s"]["SIGKILL"]["median"] < 10
    assert EXTENT.lost_after_s / 2 < result["detection_s"]["SIGSTOP"]["median"] < 10
    assert result["adjustment_ms"]["two"]["median"] > 0
