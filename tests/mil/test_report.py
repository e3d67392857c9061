"""The report as its reader meets it: one file, failures first, no number without n and events."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest
from jinja2 import Environment, StrictUndefined
from results_tree import FAILED, REPOSITORY, SLIDES, configuration, write_results

from mil.distributions.draw import FIGURES
from mil.heads.cox import CoxHead
from mil.report.cohort_flow import fold_rows, patient_flow, slide_flow
from mil.report.graph_facts import graph_facts
from mil.report.page import write_report
from mil.report.provenance import config_hash, portable
from mil.report.sample import shown_slides

BANNER = "Random encoder weights"


class Page(HTMLParser):
    """What a browser would load, and what a reader would read."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.hidden = [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag == "style"

    def handle_endtag(self, tag):
        self.hidden -= tag == "style"

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def html(inputs):
    write_report(**inputs, note="Everything here is simulated.")
    return inputs["report"].read_text()


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_versions_are_those_of_where_jobs_ran(html):
    assert "numpy&nbsp;2.5.5, torch&nbsp;2.15.0." in html


def test_the_page_loads_nothing_from_outside(html, page):
    assert not page.named("script")
    assert not page.named("link")
    assert "@import" not in html
    assert "url(" not in html
    sources = [image["src"] for image in page.named("img")]
    distributions = 1 + len(FIGURES)  # of the one without curves, and of the other
    assert len(sources) == 1 + 3 * 2 + distributions + len(SLIDES)
    assert all(source.startswith("data:image/") for source in sources)
    outside = [a["href"] for a in page.named("a") if re.match("[a-z]+:|//", a["href"])]
    assert outside == ["https://doi.org/10.1016/j.media.2023.103020"]


def test_links_to_tables_lead_to_files_beside_the_page(inputs, page):
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    inside = [a["href"] for a in page.named("a") if not a["href"].startswith("https://")]
    for target in inside:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif "kaplan_meier" not in target and "training_curves" not in target:
            assert (inputs["root"] / target).is_file(), target


def test_every_picture_is_described(page):
    assert all(len(image["alt"]) > 10 for image in page.named("img"))


def test_every_figure_and_table_has_a_caption(html):
    assert html.count("<figure") == html.count("<figcaption")
    assert html.count("<table") == html.count('<figcaption class="table"')


def test_the_same_results_give_the_same_bytes(inputs, html):
    write_report(**inputs, note="Everything here is simulated.")
    assert inputs["report"].read_text() == html


def test_the_page_holds_no_folder_of_this_machine(inputs, html):
    assert str(inputs["root"]) not in html
    assert str(REPOSITORY) not in html


def test_the_same_results_elsewhere_give_the_same_bytes(inputs, html, tmp_path):
    moved = write_results(tmp_path)
    moved["config"]["results"] = str(tmp_path)
    write_report(**moved, note="Everything here is simulated.")
    assert moved["report"].read_text() == html


def test_random_weights_raise_the_banner(page):
    assert BANNER in page.text
    assert "nothing about pathology" in page.text


def test_trained_weights_raise_no_banner(tmp_path):
    inputs = write_results(tmp_path, weights="timm resnet50.tv_in1k")
    write_report(**inputs)
    text = Page(inputs["report"].read_text()).text
    assert BANNER not in text
    assert "timm resnet50.tv_in1k" in text


def test_every_excluded_slide_and_patient_is_named_with_its_reason_before_the_results(page):
    before = page.text[: page.text.index("Mean C")]
    for slide, (_, reason) in FAILED.items():
        assert slide in before
        assert reason.removeprefix(f"slide {slide}: ") in before
    assert "no usable slide: S2" in before
    assert "P7" in before
    assert "no follow-up: the time is missing" in before


def test_an_empty_table_of_exclusions_is_still_there(inputs, tmp_path):
    columns = "level,id,patient_id,stage,kind,reason"
    (tmp_path / "excluded.csv").write_text(columns + "\n")
    (tmp_path / "patients.csv").write_text("patient_id,reason\n")
    write_report(
        **inputs
        | {
            "excluded": [tmp_path / "excluded.csv"],
            "excluded_patients": tmp_path / "patients.csv",
            "report": tmp_path / "report.html",
        }
    )
    text = Page((tmp_path / "report.html").read_text()).text
    assert "None: every slide and every patient is used." in text


def test_the_note_stands_on_top(page):
    assert page.text.index("Everything here is simulated.") < page.text.index("Warnings")


def test_an_undefined_metric_is_a_dash_and_its_reason_a_warning(html, page):
    assert "timed: Absolute error, events only (months): fold 1: no events in <this> fold." in (
        page.text
    )
    assert "nan" not in re.sub(r"base64,[^\"]*", "", html).lower()


def test_text_from_tables_is_escaped(html):
    assert "larger than 0.05 mm2 &lt;here&gt;" in html
    assert "&lt;this&gt;" in html


def test_the_main_table_has_interval_spread_folds_n_and_events(html):
    row = re.search(r'metrics.csv">timed</a></td>(.*?)</tr>', html, re.DOTALL)[1]
    cells = [
        re.sub(r"<.*?>", " ", cell).split() for cell in re.findall("<td.*?</td>", row, re.DOTALL)
    ]
    assert cells == [
        ["0.562"],
        ["0.412", "to", "0.900"],
        ["0.177"],
        ["0.625", "0.500"],
        ["−0.062", "(−0.200", "to", "+0.100)"],
        ["0.610"],
        ["0.123"],
        ["&lt;", "0.001"],
        ["5"],
        ["3"],
    ]


def test_an_experiment_without_predicted_times_has_dashes(html):
    table = html[html.index("Mean absolute errors") :]
    plain, timed = re.findall(r"<tr><td>(?:plain|timed)</td>(.*?)</tr>", table, re.DOTALL)[:2]
    assert "–" in plain
    assert "fold" not in timed  # the reason is among the warnings
    for title, words in (("Further measures", "τ to 40.2 months"), ("Log-rank test", "&lt; 0.001")):
        table = html[html.index(title) :]
        rows = re.findall(r"<tr><td>(?:plain|timed)</td>(.*?)</tr>", table, re.DOTALL)[:2]
        assert all(words in row for row in rows)


def test_distributions_are_shown_where_a_head_has_them(html, page):
    section = html[html.index('id="distributions"') : html.index('id="training"')]
    plain, timed = section.split("<h3>")[1:]
    assert re.findall(r"/(\w+)\.csv</a>", plain) == ["over_time"]
    assert re.findall(r"/(\w+)\.csv</a>", timed) == list(FIGURES)
    assert "0.765" in section[: section.index("<h3>")]  # the coverage
    assert "AUC along the follow-up" in plain
    assert "AUC and Brier score along the follow-up" in timed


def test_alarms_of_a_kind_and_metrics_with_one_reason_share_a_warning(page):
    assert "timed, folds 0, 1: the draws hardly differ (0.000)." in page.text
    names = "Integrated Brier score (IBS), IBS of the Kaplan–Meier curve"
    assert f"timed: {names}: no <curve>." in page.text


def test_no_experiment_predicts_times(tmp_path):
    inputs = write_results(tmp_path, experiments=("plain",))
    write_report(**inputs)
    assert "Absolute error" not in Page(inputs["report"].read_text()).text


def test_a_fold_with_few_events_is_a_warning(page):
    assert "Fewer than 5 events in a test part: fold 0 (1), fold 1 (2)" in page.text


def test_slides_to_look_at_are_listed_with_their_reasons(page, html):
    assert "2 of 8" in page.text
    assert "its glass is <blue>. 3 storage tiles are damaged; 1 coarse patches" in page.text
    assert "<blue>" not in html
    assert "S4 1 flagged coarse patches were dropped. out of focus 2" in page.text
    counted = "Of 12 coarse patches laid and kept, 0 are flagged pen, 0 fold, 2 out of focus"
    assert counted in page.text
    assert "none was dropped" in page.text
    assert "aperio, 0.5 µm per pixel (openslide.mpp) 6" in page.text


def test_methods_say_how_clam_found_tissue(tmp_path):
    inputs = write_results(tmp_path)
    inputs["config"]["tissue"] |= {"preset": "tcga", "drop": ["pen"]}
    inputs["config"]["patches"] |= {"grid": "contour", "rule": "four_pt"}
    write_report(**inputs)
    text = Page(inputs["report"].read_text()).text
    assert "by the algorithm of CLAM with its preset tcga. Square patches" in text
    assert "a grid of its own for each piece of tissue and kept by CLAM’s contour function" in text
    assert "but for those flagged pen; each was divided into 16" in text
    assert "more were dropped for pen" in text


def test_methods_have_the_real_numbers(page):
    assert "192 of these from 6 slides into 4 features each" in page.text
    assert "into 2 folds" in page.text
    assert "256 px at 4 µm per pixel" in page.text


def methods_of(inputs, experiments, **folds):
    """Return the text of a report on these ``(head, training)`` of the two experiments."""
    config = configuration()
    config["folds"] |= folds
    for own, (head, training) in zip(config["experiments"], experiments, strict=True):
        own |= {"head": head, "training": training}
    write_report(**inputs | {"config": config})
    return Page(inputs["report"].read_text()).text


def test_methods_say_what_a_step_saw(tmp_path):
    inputs = write_results(tmp_path)
    least, window = CoxHead.least_window, configuration()["training"]["window"]
    assert window < least
    risk_set = "(all, where a training part has fewer), as they are the risk set."
    text = methods_of(inputs, [("cox", {}), ("cox", {"window": 64})])
    assert f"An optimiser step saw at least {least} or 64 {risk_set}" in text
    text = methods_of(inputs, [("nll", {"window": 8}), ("cox", {"window": 8})])
    words = "An optimiser step saw at most 8 patients, but with a Cox head at least"
    assert f"{words} {least} {risk_set}" in text
    text = methods_of(inputs, [("nll", {}), ("adversarial", {"draws": 77})])
    assert f"An optimiser step saw at most {window} patients." in text
    assert "For adversarial heads 77 times were drawn" in text
    assert "risk set" not in text


def test_methods_know_settings_of_single_experiments(tmp_path):
    own = {"epochs": 7, "patience": 3, "monitor": "c_index"}
    text = methods_of(write_results(tmp_path), [("nll", own), ("nll", own | {"epochs": 9})])
    assert "(c-index, patience 3, at most 7 or 9 epochs)" in text


def test_methods_say_where_validation_parts_came_from(tmp_path):
    inputs = write_results(tmp_path)
    drawn = "20 % of the patients outside the test part chose the epoch"
    assert drawn in methods_of(inputs, [("nll", {})] * 2)
    text = methods_of(inputs, [("nll", {})] * 2, files="splits/{}.npz")
    assert drawn not in text
    assert "The validation part chose the epoch: the given one or, where a file has no test" in text
    assert "20 % of the given training part (loss," in text


def test_features_of_two_networks_are_a_warning(tmp_path):
    import h5py

    inputs = write_results(tmp_path)
    with h5py.File(inputs["root"] / "features/resnet50/S4.h5", "a") as file:
        file.attrs["weights_sha256"] = "6" * 64
    write_report(**inputs)
    assert "come from different weights" in Page(inputs["report"].read_text()).text


def test_legacy_offsets_are_a_warning(inputs, page, tmp_path):
    sentence = "Fine patches were laid 256 level-0 pixels apart, as AdvMIL's published code does"
    assert sentence not in page.text
    config = {
        **inputs["config"],
        "patches": {**inputs["config"]["patches"], "legacy_offsets": True},
    }
    write_report(**inputs | {"config": config, "report": tmp_path / "legacy.html"})
    text = Page((tmp_path / "legacy.html").read_text()).text
    assert text.index(sentence) < text.index("Methods Tissue")
    assert "16 patches of 256 px at 1 µm per pixel, 256 level-0 pixels apart." in text


def test_robustness_is_a_section_where_it_was_asked_for(inputs, html, tmp_path):
    assert "robustness" not in html.partition("Configuration (all keys")[0]
    point = {"n": 5, "events": 3, "repeats": 4, "unit": "region", "shared": 5}
    rows = [
        {"experiment": name, "strength": strength, "level": level, "c_index": c, "low": c - 0.1,
         "high": c + 0.1, "difference": d, "difference_low": d - 0.2, "difference_high": d + 0.2}
        | point
        for name, strength, level, c, d in (
            ("plain", 0.0, "none", 0.7, float("nan")), ("plain", 1.0, "1", 0.61, float("nan")),
            ("timed", 0.0, "none", 0.65, -0.05), ("timed", 1.0, "1", 0.5, -0.11),
        )
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table.loc[1, "unit"] = "patch"
    table.to_csv(tmp_path / "occlusion-zero.csv", index=False)
    (tmp_path / "occlusion-zero.svg").write_text("<svg/>")
    figures = [tmp_path / "occlusion-zero.svg"]
    write_report(**inputs | {"robustness": figures, "report": tmp_path / "r.html"})
    shown = Page((tmp_path / "r.html").read_text())
    assert any(a.get("href") == "#robustness" for a in shown.named("a"))
    assert "and over 4 choices of regions" in shown.text
    assert "5 patients, 3 events" in shown.text
    assert "plain 0.700 0.610 0.510 to 0.710 reference" in shown.text
    assert "timed 0.650 0.500 0.400 to 0.600 −0.110 (−0.310 to +0.090)" in shown.text
    assert "without regions lost single patches instead" in shown.text
    assert all(image["alt"] for image in shown.named("img"))


def test_a_large_cohort_shows_an_even_sample_of_slides():
    ids = [f"S{i}" for i in range(1000)]
    shown = shown_slides(ids)
    assert len(shown) == len(set(shown)) == 60
    assert (shown[0], shown[-1]) == ("S0", "S999")
    assert shown_slides(ids[:60]) == ids[:60]


def test_the_page_says_that_slides_are_a_sample(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("mil.report.sample.MOST", 3)
    write_report(**inputs | {"report": tmp_path / "report.html"})
    page = Page((tmp_path / "report.html").read_text())
    assert "An even sample of 3 of 8 slides" in page.text
    assert sum(image["alt"].startswith("Slide ") for image in page.named("img")) == 3


def test_the_slide_whose_graph_is_odd_is_named(page):
    graphs = page.text[page.text.index("Graphs of all usable slides") :]
    assert "Edges longer than two patches, %" in graphs
    odd = graphs[graphs.index("Slides with more than 10 % long edges") :]
    row = odd[odd.index("S4") :].split()
    assert row[:6] == ["S4", "32", "12.5", "3", "1", "12"]
    assert "S5" not in odd[: odd.index("Reproduce and cite")]


def test_graph_facts_name_the_slides_with_most_long_edges_first():
    table = pd.DataFrame(
        {
            "slide_id": list("abcdefg"),
            "n_patches": "100",
            "in_degree_min": [str(n) for n in range(7)],
            "in_degree_median": "8.0",
            "in_degree_max": "12",
            "pieces": ["1", "2", "3", "1", "1", "1", "1"],
            "long_edges": ["0.0", "0.2", "0.2", "0.5", "0.11", "0.078", "0.3"],
        }
    )
    facts = graph_facts(table)
    assert [row["slide_id"] for row in facts["odd"]] == ["d", "g", "c", "b", "e"]
    least, *_, long = facts["spreads"]
    assert (least.n, least.median, least.least, least.most) == (7, 3, 0, 6)
    assert (long.median, long.least, long.most) == (20, 0, 50)


def test_slide_flow_counts_every_loss_where_it_happened():
    columns = ["level", "id", "patient_id", "stage", "kind", "reason"]
    lost = [
        ("slide", "a", "A", "find_tissue", "unreadable", ""),
        ("slide", "b", "B", "find_tissue", "no_tissue", ""),
        ("slide", "c", "C", "make_patches", "no_tissue", ""),
        ("slide", "d", "D", "extract_features", "damaged", ""),
        ("slide", "e", "E", "configuration", "excluded", ""),
        ("slide", "f", "F", "cluster_patches", "crash", ""),
        ("patient", "A", "A", "gather_cohort", "no_slide", ""),
    ]
    steps = slide_flow(10, pd.DataFrame(lost, columns=columns), 3)
    assert [(step.label, step.left) for step in steps] == [
        ("in the slide table", 10),
        ("not left out on purpose", 9),
        ("opened, scale known", 8),
        ("with tissue", 7),
        ("with patches", 6),
        ("with features", 5),
        ("with graph and clusters", 4),
        ("used", 3),
    ]
    assert [step.lost for step in steps[2:5]] == ["1 cannot be read", "1 no tissue", "1 no tissue"]
    assert steps[-1].lost == "1 of patients without usable follow-up"


def test_patient_flow_loses_nobody():
    left_out = pd.DataFrame(
        {"patient_id": ["X", "Y"], "reason": ["no follow-up: a", "no follow-up: b"]}
    )
    steps = patient_flow({"A", "B", "C"}, left_out, {"A", "B"})
    assert [step.left for step in steps] == [5, 3, 2]
    assert [step.lost for step in steps] == ["", "2 no follow-up", "1 without usable slide"]


def test_folds_count_only_patients_with_a_slide():
    fold = {"A": "train", "B": "train", "C": "test", "D": "validation"}
    rows = fold_rows([fold], {"A": 1, "B": 1, "C": 0, "D": 1}, {"A", "C", "D"})
    assert rows == [{"train": (1, 1), "validation": (1, 1), "test": (1, 0)}]


def test_the_hash_is_of_what_is_computed_not_of_where():
    config = configuration()
    moved = config | {"results": "/elsewhere", "slides": "/data/slides.csv"}
    assert config_hash(moved) == config_hash(config)
    assert config_hash(config | {"seed": 43}) != config_hash(config)
    assert portable(moved)["slides"] == "slides.csv"
    assert "results" not in portable(moved)


CAPTIONS = sorted((REPOSITORY / "report").glob("*.rst"))


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
def test_captions_render_with_strict_variables(caption):
    wildcards = SimpleNamespace(
        experiment="abmil-cox", slide="S1", encoder="resnet50", fold="0", curve="blur"
    )
    params = SimpleNamespace(task={"unit": "patient"})
    job = SimpleNamespace(wildcards=wildcards, params=params, config=configuration())
    template = Environment(undefined=StrictUndefined).from_string(caption.read_text())
    text = template.render(snakemake=job)
    assert 2 <= len(re.findall(r"[.:](?:\s|$)", text)) <= 8
    assert "{" not in text


def test_there_is_a_caption_for_everything_that_the_rules_report():
    expected = (
        *("calibration", "chosen_patients", "comparison", "confusion", "excluded", "forest"),
        *("heatmaps", "html", "imported", "intervals", "kaplan_meier", "label_comparison"),
        *("label_forest", "numbers", "over_time", "predicted_times", "reliability", "robustness"),
        *("slides", "thresholds", "tissue", "training_curves", "workflow"),
    )
    assert tuple(caption.stem for caption in CAPTIONS) == expected


def test_seeds_are_rows_below_their_mean_and_one_has_figures(tmp_path):
    names = ("plain.seed_1", "plain.seed_2")
    inputs = write_results(tmp_path, experiments=names)
    inputs["config"]["experiments"] = [
        {"name": "plain", "model": "abmil", "head": "cox", "seeds": 2}
    ]
    path = inputs["comparison"]
    table = pd.read_csv(path).assign(group="plain")
    group = table.iloc[[0]].assign(experiment="plain", seeds=2, c_index=0.594, sd_over_seeds=0.044)
    pd.concat([group, table]).to_csv(path, index=False)
    write_report(**inputs)
    page = Page(inputs["report"].read_text())
    assert "the best of 1 experiment, plain (mean of 2 seeds), ranked" in page.text
    assert "SD over seeds" in page.text
    assert "SD over repeats" not in page.text
    assert "0.044" in page.text
    assert "0.688 0.500" in page.text, "folds: means over seeds"
    assert "of 1 experiment: the first seed of the best groups. Those of the other 1" in page.text
    figures = [image["alt"] for image in page.named("img")]
    assert sum("Kaplan-Meier" in alt for alt in figures) == 1


def test_hidden_labels_are_told_in_methods(tmp_path):
    inputs = write_results(tmp_path)
    config = configuration()
    config["experiments"][0] |= {"head": "adversarial", "semi_supervised": {"labelled": 0.4}}
    write_report(**inputs | {"config": config})
    text = Page(inputs["report"].read_text()).text
    assert "semi-supervised: UD+LD, labelled 0.4" in text
    assert "The validation part kept its labels." in text
