"""What a preview of an update shows: the program's inputs, and what the cloud has added to them."""

from __future__ import annotations

from rehearsal.standins.compare import foretold_update


def test_what_the_cloud_added_inside_a_section_stays_and_what_the_program_took_back_goes() -> None:
    outputs = {"dns": {"config": {"external": True, "endpoint": "gke-1"}, "old": 1}, "address": "203.0.113.1"}
    olds = {"dns": {"config": {"external": True}, "old": 1}}
    news = {"dns": {"config": {"external": False}}}
    assert foretold_update(outputs, olds, news) == {
        "dns": {"config": {"external": False, "endpoint": "gke-1"}},
        "address": "203.0.113.1",
    }


def test_what_the_cloud_fills_in_stays_also_where_an_import_made_an_input_of_it() -> None:
    outputs = {"dns": {"config": {"external": True, "endpoint": "gke-1", "old": 1}}}
    news = {"dns": {"config": {"external": False}}}
    filled = [("dns", "config", "endpoint")]
    assert foretold_update(outputs, outputs, news, filled) == {
        "dns": {"config": {"external": False, "endpoint": "gke-1"}}
    }
