"""Small drawings in tables."""

from __future__ import annotations

from xml.etree import ElementTree

from redheart.report.drawings import INTERVAL_WIDTH, WIDTH, interval_bar, sparkline


def test_the_dot_of_a_sparkline_is_at_the_chosen_epoch_and_low_is_low() -> None:
    svg = ElementTree.fromstring(sparkline([1, 2, 3], [3.0, 1.0, 2.0], chosen=2, label="a < b"))
    dot = svg.find("circle")
    assert dot is not None and float(dot.attrib["cx"]) == WIDTH / 2 and float(dot.attrib["cy"]) == 22
    assert svg.attrib["aria-label"] == "a < b"


def test_a_single_epoch_is_a_dot_and_nothing_measured_is_nothing() -> None:
    svg = ElementTree.fromstring(sparkline([7], [0.3]))
    assert svg.find("circle") is not None and svg.find("polyline") is None
    assert sparkline([1, 2], [None, None]) == ""


def test_an_interval_is_coloured_only_where_it_leaves_zero_out() -> None:
    def tone(low: float, high: float) -> str:
        return ElementTree.fromstring(interval_bar((low + high) / 2, low, high, scale=(-1, 1))).attrib["class"]

    assert tone(0.1, 0.3) == "interval above" and tone(-0.3, -0.1) == "interval below"
    assert tone(-0.1, 0.3) == "interval around"


def test_what_lies_beyond_the_scale_is_cut_at_its_end() -> None:
    svg = ElementTree.fromstring(interval_bar(5.0, 0.5, 9.0, scale=(-1, 1)))
    assert all(0 <= float(part.attrib["x2"]) <= INTERVAL_WIDTH for part in svg.findall("line"))
