"""The page: what it must say, what it must never say, and what it does without optional files."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from engine.report.blocks.cases import FIRST_CASES
from engine.report.run_page import render_report, write_report
from engine.report.templating import TEMPLATES, in_full, points, stacked
from engine.study.comparison import FEWEST_REPLICATES
from tests.engine.report.fake_run import make_run

FORBIDDEN = (
    "clinically", "validated", "diagnostic", "skin types", "anonym", "privacy", "generalis", "generaliz", "ppv", "npv",
    "predictive value",
)  # fmt: skip
"""What a page never says, in any form."""
VOID = {"meta", "link", "img", "br", "input", "circle", "line", "rect", "path", "polyline"}


class Outline(HTMLParser):
    """Collects tags, ids, headings and images; checks that tags are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []
        self.tables = self.captions = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [str(found["id"])] if "id" in found else []
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        self.tables += tag == "table"
        self.captions += tag == "caption"
        if tag == "img":
            self.images.append(found)
        self.links += [str(found[k]) for k in ("href", "src") if k in found]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("report") / "demo", lesions=220, cases=8, cache=True)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return render_report(run)


def words(page: str) -> str:
    """The page's text without tags, style and script."""
    bare = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare)).replace("\u00a0", " ")


def altered(run: Path, tmp_path: Path, **changes: object) -> Path:
    copy = tmp_path / "demo"
    shutil.copytree(run, copy)
    report = json.loads((copy / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps(report | changes))
    return copy


def test_page_is_well_formed_and_structured(page: str) -> None:
    outline = Outline(page)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))
    assert outline.tables == outline.captions > 5
    assert all(image.get("alt") for image in outline.images)
    anchors = [link[1:] for link in outline.links if link.startswith("#")]
    assert anchors and set(anchors) <= set(outline.ids)


def test_page_is_self_contained(page: str) -> None:
    outline = Outline(page)
    assert all(link.startswith(("#", "data:")) for link in outline.links)
    assert not re.search(r"https?://(?!\*\*\*@mlflow\.example)", page)
    assert "@import" not in page and "url(" not in page


def test_page_says_what_it_must(page: str) -> None:
    text = words(page)
    for phrase in (
        "No leakage found",
        "Research software, not a medical device",
        "handle them as patient data",
        "malignant or premalignant",
        "One run with one seed proves no gain",
        "operating point fixed on val",
        "in round 2, the classifier trained with synthetic hard cases (hard) recognised",
        "Champion, chosen on val alone",
        "Does an independent judge recognise them?",
        "judge disagreed",
        "on real val images; the judge at temperature 1.20",
        "on unseen real lesions",
        "sensitivity at 90 % specificity on the test curve itself",
        "at 64 × 64 pixels",
    ):
        assert phrase.lower() in text.lower(), phrase
    for dx in ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"):
        assert f"{dx} " in text


def test_the_pages_operating_points_are_those_of_the_run(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    text = (copy / "config.yaml").read_text()
    points = "specificity: 0.925, melanoma_sensitivity: 0.975"
    (copy / "config.yaml").write_text(text.replace("specificity: 0.9", points))
    page = words(render_report(copy))
    assert "sensitivity at 92.5 % specificity on the test curve itself" in page
    assert "for a specificity of 92.5 %" in page and "for a sensitivity of 97.5 %" in page
    assert "at 90 % specificity on the test curve" not in page


@pytest.mark.parametrize("kind", ["safe", "leaky", "leaky_by_duplicates", "groups_unknown"])
def test_page_never_claims_too_much(run: Path, tmp_path: Path, kind: str) -> None:
    text = words(render_report(altered(run, tmp_path, protocol=kind))).lower()
    for word in (
        "validated",
        "diagnostic",
        "anonym",
        "privacy",
        "generalis",
        "generaliz",
        "fair",
        "proves a gain",
        "significant",
        *FORBIDDEN,
    ):
        assert word not in text


def test_no_template_claims_too_much() -> None:
    for path in sorted(TEMPLATES.glob("*.j2")):
        text = path.read_text(encoding="utf-8").lower()
        assert [word for word in FORBIDDEN if word in text] == [], path.name


@pytest.mark.parametrize(
    ("protocol", "title"),
    [
        ("leaky", "LEAKY: hard cases were mined from the test part"),
        ("leaky_by_duplicates", "LEAKY: near-duplicates lie in two parts of the split"),
        ("groups_unknown", "GROUPS UNKNOWN: lesions could straddle the split"),
        ("other", "Protocol: other"),
    ],
)
def test_banner_names_the_protocol_before_any_figure(
    run: Path, tmp_path: Path, protocol: str, title: str
) -> None:
    page = render_report(altered(run, tmp_path, protocol=protocol))
    assert f'class="banner {protocol}"' in page
    assert page.index(title) < page.index("recognised")


def test_where_some_images_have_no_group_the_banner_counts_them(run: Path, tmp_path: Path) -> None:
    data = json.loads((run / "report.json").read_text())["data"]
    some = {"protocol": "groups_unknown", "data": data | {"without_group": "20 of 320"}}
    text = words(render_report(altered(run, tmp_path, **some)))
    assert "20 of 320 images in use have neither a patient id nor a lesion id" in text
    assert "names neither patients nor lesions" not in text


def test_images_without_a_diagnosis_and_readers_answers_are_counted(run: Path, tmp_path: Path) -> None:
    data = json.loads((run / "report.json").read_text())["data"]
    text = words(render_report(altered(run, tmp_path, data=data | {"unlabelled": 1980, "answered": 20})))
    assert f"{data['n_images']} images (1980 without a diagnosis)" in text
    assert "20 of the train images have their class from readers’ answers" in text
    assert "readers’ answers" not in words(render_report(run))


def test_near_duplicates_in_two_parts_are_counted_with_the_remedy_and_allow_no_claim(
    run: Path, tmp_path: Path
) -> None:
    data = json.loads((run / "report.json").read_text())["data"]
    leaky = {"protocol": "leaky_by_duplicates", "data": data | {"duplicates_apart": 3}}
    text = words(render_report(altered(run, tmp_path, **leaky)))
    assert "show the same, and lie in two parts: 3." in text
    assert "Set data.split.merge_duplicates: true, which joins them" in text
    assert "Under a leaky protocol:" in text and "Why: the protocol is leaky by duplicates" in text
    assert "No leakage found" not in text


def test_the_answer_comes_first_and_one_run_shows_nothing(page: str) -> None:
    text = words(page)
    start = text.index("Hard cases changed malignant sensitivity at 90 % specificity by")
    assert start < text.index("What was found") and start < text.index("No leakage found")
    assert (
        "an unknown amount against training with random synthetic images (random) (random was not run): not shown. Why: 1 "
        "training set;" in text
    )


def test_the_verdict_stands_before_its_figures_and_the_next_command_after_them(page: str, run: Path) -> None:
    text = words(page)
    verdict, figures, step = (
        text.index(said)
        for said in (
            "Not shown that hard cases help",
            "Hard cases changed",
            f"Next: hardcase run RUN/config.yaml --folds 0-{FEWEST_REPLICATES - 1}",
        )
    )
    assert verdict < figures < step < text.index("What was found")
    assert str(run) not in page, "a page is the same wherever its run lies"


def test_a_config_of_another_version_has_no_next_command(run: Path, tmp_path: Path) -> None:
    copy = altered(run, tmp_path)
    (copy / "config.yaml").write_text("name: a\nno_key_of_ours: 1\n")
    assert "Next:" not in words(render_report(copy))


def test_the_first_screen_has_a_picture_beside_the_answer(page: str, run: Path, tmp_path: Path) -> None:
    first = page[page.index('class="first-figures"') : page.index('class="lead"')]
    assert page.index('class="answer') < page.index('class="first-figures"') < page.index("What was found")
    assert "trained with synthetic hard cases (hard) minus trained" in words(first)
    assert "right of it hard cases are better" in words(first)
    table = page[page.index('id="differences"') :]
    (shown,), (below,) = (
        re.findall(r'aria-label="([^"]*)"><line class="axis" x1="50%', t)[:1] for t in (first, table)
    )
    assert shown == below
    assert "Malignant lesions. Sensitivity, % trained on real images alone (real) in round" in first
    report = json.loads((run / "report.json").read_text())
    for entry in report["rounds"]:
        entry["test"]["malignant"]["sensitivity"] = dict.fromkeys(("value", "low", "high"))
    without = render_report(altered(run, tmp_path, rounds=report["rounds"]))
    assert "Malignant lesions. Sensitivity" not in without


def test_a_leaky_answer_says_so(run: Path, tmp_path: Path) -> None:
    text = words(render_report(altered(run, tmp_path, protocol="leaky")))
    assert text.index("LEAKY: hard cases were mined from the test part") < text.index(
        "LEAKY: Hard cases changed"
    )
    assert "Why: the protocol is leaky." in text


def test_without_test_images_nothing_can_be_told(run: Path, tmp_path: Path) -> None:
    """A run whose test part is still sealed."""
    copy = altered(run, tmp_path)
    for path in (copy / "split.parquet", *copy.glob("rounds/**/predictions.parquet")):
        frame = pd.read_parquet(path)
        frame[frame["split"] != "test"].to_parquet(path)
    text = words(render_report(copy))
    assert (
        "How hard cases changed malignant sensitivity at 90 % specificity cannot be told: not shown." in text
    )
    assert "Why: the data names no malignant class, or val or test holds none." in text


def test_sections_come_in_the_order_of_the_evidence(page: str) -> None:
    order = ("finding", "cases", "rounds", "malignant", "missed", "differences", "classes", "confusion", "challenging",
             "calibration", "subgroups", "gates", "copies", "cost", "data", "record")  # fmt: skip
    places = [page.index(f'id="{name}"') for name in order]
    assert places == sorted(places)


def test_the_first_hard_cases_stand_open_and_the_others_are_folded(page: str) -> None:
    section = page[page.index('id="cases"') : page.index('id="rounds"')]
    open_ones, folded = section.split('<details class="more"')
    assert open_ones.count('<article class="case"') == FIRST_CASES
    assert f"The other {folded.count('<article class=')} hard cases" in folded
    numbers = [int(number) for number in re.findall(r'id="case-(\d+)"', section)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > FIRST_CASES


def test_earlier_rounds_and_times_are_folded(page: str) -> None:
    """What is looked up, not read: the last round of the gates stands open."""
    gates = page[page.index('id="gates"') : page.index('id="sheets"')]
    open_part = re.sub(r"<details>.*?</details>", "", gates, flags=re.S)
    assert "Round 2: images by class and verdict" in open_part
    assert "Round 1: images by class and verdict" in gates and "Round 1:" not in open_part
    assert "Time by round, arm and stage" not in re.sub(r"<details>.*?</details>", "", page, flags=re.S)


def test_tables_name_classes_in_full(page: str) -> None:
    """A column of the confusion matrix has no room: below the heading stands what its names mean."""
    assert re.findall(r'<th scope="row">(akiec|bcc|bkl|df|mel|nv|vasc)</th>', page) == []
    heading = words(page[page.index('id="confusion"') :])[:600]
    assert "basal cell carcinoma (bcc); benign keratosis (bkl)" in heading
    assert "Actinic keratosis or intraepithelial carcinoma (akiec) includes premalignant lesions" in words(
        page
    )


def test_no_template_prints_a_class_as_it_is_coded() -> None:
    bare = re.compile(r">\{\{ \w+\.(?:dx|true|predicted) \}\}<")
    assert [path.name for path in TEMPLATES.glob("*.j2") if bare.search(path.read_text("utf-8"))] == []


def test_arms_after_a_preposition_are_trainings(page: str) -> None:
    assert (
        re.findall(r"(?:than|against|minus) (?:on|with) (?:real|synthetic|random) images", words(page)) == []
    )


def test_subgroups_show_counts_warnings_and_what_cannot_be_assessed(page: str) -> None:
    text = words(page)
    assert "Sex Malignant lesions" in text and "too few lesions" in text
    assert "Skin type Not assessable: the data set does not record it." in text


def test_cost_and_copies_are_told(page: str) -> None:
    text = words(page)
    assert "test images recognised that are not when trained on real images alone (real)" in text
    assert (
        "generator, its gates and the index, once per run 11 min 26 s" in text
    )  # 41.0 + 160.4 + 420.0 + 65.0 s
    assert re.search(r"Round 1: 3 of \d+ images", text)


def test_failed_attempts_are_listed_with_their_causes(run: Path, tmp_path: Path, page: str) -> None:
    failed = [{"cause": "preempted", "said": "node <3> goes", "seconds": 90.0}, {"cause": "worker lost"}]
    shown = render_report(altered(run, tmp_path, failed_attempts={"foundation/vae": failed}))
    Outline(shown)
    for cell in ("foundation/vae", "preempted", "node &lt;3&gt; goes", "worker lost"):
        assert cell in shown
        assert cell not in page
    assert "Failed attempts" not in page


def test_leaky_run_without_champion_says_so(run: Path, tmp_path: Path) -> None:
    text = words(render_report(altered(run, tmp_path, protocol="leaky", champion=None)))
    assert "No champion was named: a leaky run names none" in text and "Under a leaky protocol:" in text


def test_straddling_lesions_are_shouted(run: Path, tmp_path: Path) -> None:
    copy = altered(run, tmp_path)
    frame = pd.read_parquet(copy / "split.parquet")
    frame["lesion_id"] = "same"
    frame.to_parquet(copy / "split.parquet")
    assert "1 lesions lie in two parts of the split" in words(render_report(copy))


def test_report_json_alone_renders_with_gaps_named(run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "report.json", bare)
    text = words(render_report(bare))
    for gap in (
        "No hard cases are in this run folder",
        "No synthetic images are in this run folder",
        "No judge figures are in this run folder",
        "No contact sheet is in this run folder",
        "split.parquet is not in this run folder",
        "config.yaml is not in this run folder",
    ):
        assert gap in text


def test_no_round_yet_renders(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema_version": 1, "protocol": "safe", "rounds": []}')
    text = words(render_report(tmp_path))
    assert "No round has finished yet" in text and "nothing to compare yet" in text
    assert "Which malignancies were missed cannot be told" in text and "No curve can be drawn" in text


def test_undefined_malignant_figures_render_as_dashes(run: Path, tmp_path: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    for entry in report["rounds"]:
        for part in ("val", "test"):
            for name in ("sensitivity", "specificity", "sensitivity_at_specificity_90", "auc"):
                entry[part]["malignant"][name] = {"value": None, "low": None, "high": None}
    text = words(render_report(altered(run, tmp_path, rounds=report["rounds"])))
    assert "Sensitivity to malignant or premalignant lesions is not available" in text
    assert "None" not in text and "nan" not in text.lower().split()


def test_text_from_files_is_escaped(run: Path, tmp_path: Path) -> None:
    copy = altered(run, tmp_path, name="<script>alert(1)</script>")
    path = copy / "rounds/0001/hard_cases.parquet"
    frame = pd.read_parquet(path)
    frame["predicted"] = '"><img src=x onerror=alert(1)>'
    frame.to_parquet(path)
    page = render_report(copy)
    assert "<script>alert(1)" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert Outline(page).open == []


def test_secrets_do_not_reach_the_page(page: str) -> None:
    assert "secret" not in page and "https://***@mlflow.example/" in page


def test_page_is_reproducible_and_bounded(run: Path, page: str) -> None:
    assert render_report(run) == page
    assert len(page) < 3_000_000


def test_write_report_replaces_the_page(run: Path, page: str) -> None:
    (run / "report.html").write_text("old")
    path = write_report(run)
    assert path == run / "report.html" and path.read_text(encoding="utf-8") == page
    assert not list(run.glob(".report*"))


def test_cap_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.report.blocks.cases.MAX_CASES", 4)
    assert re.search(r"Of \d+ mined, 4 are shown", words(render_report(run)))


def test_stacked_splits_value_and_interval() -> None:
    assert stacked("78.2 % (70.1–85.3)") == '78.2 %<span class="ci">(70.1–85.3)</span>'
    assert points("+4.2 points [+1.0, +7.4]") == '+4.2 points<span class="ci">[+1.0, +7.4]</span>'
    assert stacked("–") == "–" and stacked("<") == "&lt;"


@pytest.mark.parametrize("generator_saw", ["own", "train", None])
def test_what_the_generator_saw_is_said(run: Path, tmp_path: Path, generator_saw: str | None) -> None:
    report = json.loads((run / "report.json").read_text())
    for entry in report["rounds"]:
        if generator_saw is None:
            del entry["generator_saw"]
        else:
            entry["generator_saw"] = generator_saw
    text = words(render_report(altered(run, tmp_path, rounds=report["rounds"])))
    expected = {"own": "the classifier's own training images only", "train": "the whole train part"}
    assert expected.get(str(generator_saw), "what is not recorded") in text.replace("&#39;", "'")


def test_where_nothing_was_accepted_the_page_compares_nothing(run: Path, tmp_path: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    pools = {"pool": {"added": {"mel": 0}}}
    page = render_report(altered(run, tmp_path, rounds=[entry | pools for entry in report["rounds"]]))
    text = words(page)
    assert (
        "Nothing was tested, since no synthetic image was accepted and hard trained on the same images as training on real "
        "images alone (real)" in text
    )
    assert (
        "no synthetic image was accepted: training with synthetic hard cases (hard) and on real images alone (real) used "
        "the same images. Nothing was tested." in text
    )
    assert "percentage points higher" not in text and "percentage points lower" not in text
    assert not re.search(r"[+-]\d+\.\d points \[", text)


def test_figures_of_an_oracle_are_marked_on_the_first_screen(run: Path, tmp_path: Path) -> None:
    assert "SIMULATED" not in render_report(run)
    bought = {"asked": 4, "answered": 4, "conflicts": 0, "unsure": 0, "simulated": True}
    rounds = json.loads((run / "report.json").read_text())["rounds"]
    page = render_report(altered(run, tmp_path, rounds=[*rounds[:-1], rounds[-1] | {"labels": bought}]))
    text = words(page)
    title = "SIMULATED LABELS: an oracle uncovered hidden labels"
    assert text.index(title) < text.index("Hard cases changed") and 'class="banner simulated"' in page


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("mel", "melanoma (mel)"),
        ("BCC", "basal cell carcinoma (BCC)"),
        ("akiec", "actinic keratosis or intraepithelial carcinoma (akiec)"),
        ("nv", "nevus (nv)"),
        ("Melanoma", "Melanoma"),
        ("digit 3", "digit 3"),
        ("mel?", "mel?"),
    ],
)
def test_classes_are_named_in_full_where_they_are_known(label: str, shown: str) -> None:
    assert in_full(label) == shown


def test_headings_of_cases_name_diagnoses_and_filters_keep_the_labels(page: str) -> None:
    assert re.search(r'<h3 id="case-1">\w[\w ]* \(\w+\) taken for \w[\w ]* \(\w+\) <a class="anchor"', page)
    assert re.search(r'<option value="mel">melanoma \(mel\)</option>', page)


def test_arms_are_named_in_words_and_by_the_name_of_config(page: str) -> None:
    assert "with synthetic hard cases <small>(hard)</small>" in page
    text = words(page).partition("Configuration of the run")[0]
    raw = (
        "arm hard",
        "arm real",
        "roll_back",
        "groups_unknown",
        "balanced_accuracy",
        "malignant.sensitivity",
    )
    assert [word for word in raw if word in text] == []


def test_headings_can_be_linked_to(page: str) -> None:
    headings = re.findall(r'<h2 id="(\w+)">', page)
    linked = re.findall(r'<a class="anchor" href="#([\w-]+)"', page)
    assert {"rounds", "malignant", "missed", "differences", "record"} <= set(headings) <= {*linked, "finding"}


def test_a_run_of_schema_1_still_renders(run: Path, tmp_path: Path) -> None:
    """Its arm real is today's plain; no real arm is there to compare with."""
    copy = altered(run, tmp_path, schema_version=1)
    text = words(render_report(copy))
    assert "on real images, flips alone (plain)" in text
    assert "Malignancies that were missed" in text
