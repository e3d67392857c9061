"""What the report says of the speed of encoding, worked out by hand."""

import json

import pytest
from results_tree import write_results

from mil.report.page import write_report
from mil.report.provenance import EncoderFacts, seen_before
from mil.report.speed import SHOWN, speed_facts


def record(folder, slide, patches, seconds, for_patches, for_network, device="cuda:0"):
    folder.mkdir(parents=True, exist_ok=True)
    known = {
        "patches": patches,
        "seconds": seconds,
        "waited_for_patches": for_patches,
        "waited_for_network": for_network,
        "device": device,
        "precision": "float16",
        "batch": 256,
    }
    (folder / f"{slide}.json").write_text(json.dumps(known))


def test_rates_and_who_waited(tmp_path):
    record(tmp_path, "A", 1000, 10, 1, 3)
    record(tmp_path, "B", 400, 2, 1.5, 0.5)
    record(tmp_path, "C", 300, 2, 0, 2, device="cuda:1")
    facts = speed_facts(tmp_path, ["A", "B", "C", "never measured"])
    assert (facts["slides"], facts["patches"], facts["seconds"]) == (3, 1700, 14)
    rates, reading = facts["spreads"]
    assert (rates.least, rates.median, rates.most) == (100, 150, 200)
    assert (reading.least, reading.median, reading.most) == (0, 25, 75)
    assert facts["reading_is_slower"] == 1
    assert [row["slide_id"] for row in facts["slowest"]] == ["A", "C", "B"]
    assert facts["on"] == [
        ("cuda:0, float16, batches of 256", 2),
        ("cuda:1, float16, batches of 256", 1),
    ]


def test_only_the_slowest_are_named(tmp_path):
    names = [f"S{i}" for i in range(SHOWN + 5)]
    for i, name in enumerate(names):
        record(tmp_path, name, 100 * (i + 1), 1, 0, 1)
    assert [row["slide_id"] for row in speed_facts(tmp_path, names)["slowest"]] == names[:SHOWN]


def test_without_measurements_there_is_nothing_to_say(tmp_path):
    assert speed_facts(tmp_path / "none", ["A"]) is None


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("report"))


def test_the_page_has_the_section_only_where_something_was_measured(inputs, tmp_path):
    write_report(**inputs, speeds=tmp_path)
    assert 'id="speed"' not in inputs["report"].read_text()
    cohort = inputs["cohorts"][0].read_text().splitlines()
    slide = cohort[1].split(",")[0]
    record(tmp_path / "resnet50", slide, 1234, 10, 1, 9)
    write_report(**inputs, speeds=tmp_path)
    html = inputs["report"].read_text()
    assert 'id="speed"' in html
    assert "1,234 patches in 10 s" in " ".join(html.split())
    assert "Reading held up no slide" in html
    assert "but for what was measured" in html


def facts(trained):
    return EncoderFacts("e", "w", "s", "l", trained, "float32", 4, 256, 1.0)


@pytest.mark.parametrize(
    ("trained", "slides", "warned"),
    [
        ("yes", ["TCGA-A1-0001"], True),
        ("yes", ["S1", "tcga-a1-0001"], True),
        ("yes", ["S1"], False),
        ("no", ["TCGA-A1-0001"], False),
        ("unknown", ["TCGA-A1-0001"], False),
    ],
)
def test_an_encoder_that_may_have_seen_the_cohort_is_a_warning(trained, slides, warned):
    found = seen_before({"phikon_v2": [facts(trained)]}, slides)
    assert [("phikon_v2 was trained on slides of TCGA" in s) for s in found] == [True] * warned
