"""The page: valid, self-contained, escaped, small, the same every time, and not too wide for a phone."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest

from dti.report.build import build
from dti.report.document import Cell, Document, Fact, Section, Span, Table, Words, cells
from dti.report.render import html, markdown

VOID = {"meta", "img", "line", "br"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = '<script>alert("x")</script> *a* | [b](http://c.d) `e` & "f'


class Checker(HTMLParser):
    """Balanced tags, attributes by name, ids once each, and all places that something could be loaded from."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.places, self.anchors, self.labels = [], [], [], [], [], []
        self.texts = []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert len(found) == len(attributes), f"<{tag}> names an attribute twice"
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.anchors += [found["href"]] if tag == "a" else []
        self.labels += [found["aria-labelledby"]] if "aria-labelledby" in found else []
        self.places += [value for name, value in attributes if name in ("src", "srcset", "data", "action", "poster")]
        self.places += [found["href"]] if "href" in found and tag != "a" else []
        assert not any(name.startswith("on") for name in found), f"<{tag}> runs a script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.texts.append(data)


def checked(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def run(make_run):
    return make_run()


@pytest.fixture(scope="module")
def document(run, make_run):
    return build(run, 50, make_run(skill=0.1, seed=2), "`another/run`")


@pytest.fixture(scope="module")
def page(document):
    return html(document)


def test_the_page_is_well_formed_and_its_references_lead_somewhere(page):
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    found = checked(page)
    assert len(set(found.ids)) == len(found.ids)
    assert found.anchors
    assert {anchor.removeprefix("#") for anchor in found.anchors} | set(found.labels) <= set(found.ids)
    assert [found.tags.count(tag) for tag in ("h1", "title", "main", "img")] == [1, 1, 1, 3]


def test_a_strict_html5_parser_takes_the_page(page):
    html5lib = pytest.importorskip("html5lib", reason="html5lib is not installed; the structure is checked above")
    html5lib.HTMLParser(strict=True).parse(page)


def test_the_page_loads_nothing_and_runs_nothing(page):
    found = checked(page)
    assert all(place.startswith("data:image/png;base64,") for place in found.places)
    assert len(found.places) == 3
    assert not {"script", "iframe", "object", "embed", "link", "form"} & set(found.tags)
    assert not re.search(r"url\(|@import|https?:", page)
    assert "default-src 'none'" in page


def test_the_page_is_small_and_the_same_every_time(run, page):
    assert len(page.encode()) < 1_000_000
    texts = [html(build(run, 50)), html(build(run, 50))]
    assert texts[0] == texts[1]


def test_tables_are_rectangular_and_rows_have_headers(page):
    for table in re.findall(r"<table.*?</table>", page, re.S):
        head, *rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
        width = len(re.findall(r"<t[hd]", head))
        assert rows
        assert {len(re.findall(r"<t[hd]", row)) for row in rows} == {width}
        assert all('<th scope="row">' in row for row in rows)


def evil():
    table = Table(
        EVIL, [EVIL, EVIL], [cells(EVIL, EVIL), [Cell(EVIL, True), Cell(EVIL, False, Span(1, 0, 2))]], EVIL, [EVIL], 1
    )
    return Document(
        EVIL, EVIL, [Fact(EVIL, EVIL, EVIL)], [Section("s", EVIL, [Words([EVIL]), Words([EVIL], True), table])]
    )


def test_texts_are_never_markup():
    page = html(evil())
    assert "<script" not in page
    found = checked(page)
    assert "script" not in found.tags
    assert '<script>alert("x")</script> *a*' in "".join(found.texts)


def test_the_title_of_a_data_set_is_a_text(make_run):
    page = html(build(make_run(title="<img src=x onerror=alert(1)>"), 50))
    assert page.count("<img") == 3
    assert "&lt;img src=x onerror=alert(1)&gt;: what this run is worth" in page


def test_texts_are_never_markdown(tmp_path):
    text = markdown(evil(), tmp_path)
    assert "\\<script\\>" in text
    assert "<script" not in text.replace("\\<", "")
    assert "](" not in text.replace("\\](", "")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


def test_markdown_has_every_section_table_and_figure(document, run):
    text = markdown(document, run / "reports")
    for section in document.sections:
        assert f"\n## {section.title}\n" in text
        for block in section.blocks:
            if isinstance(block, Table):
                assert f"\n### {block.title}\n" in text
                below = text.split(f"### {block.title}\n\n")[1].split("\n\n")[0]
                assert len(below.splitlines()) == len(block.rows) + 2
    pictures = re.findall(r"!\[[^\]]*\]\(<([^>]*)>\)", text)
    assert pictures == ["plots/roc.png", "plots/reliability.png", "plots/learning_curve.png"]
    assert all((run / "reports" / picture).is_file() for picture in pictures)


def test_intervals_are_drawn_inside_their_cell(document):
    drawn = [block for part in document.sections for block in part.blocks if isinstance(block, Table) and block.ends]
    assert len(drawn) == 5
    for table in drawn:
        for span in filter(None, (line[table.drawn].span for line in table.rows)):
            assert 0 <= table.place(span.low) <= table.place(span.value) <= table.place(span.high) <= 100


HOST = """<!DOCTYPE html><title>not measured</title>
<iframe id="frame" style="width: WIDTHpx; height: 900px; border: 0"></iframe>
<script>
const frame = document.getElementById("frame");
frame.onload = () => {
  const view = frame.contentWindow, page = frame.contentDocument, width = page.documentElement.clientWidth;
  const outside = [...page.querySelectorAll("body *")]
    .filter(e => e.matches(".wide") || !e.closest(".wide"))
    .filter(e => e.getBoundingClientRect().right > width + 0.5)
    .map(e => e.tagName + " " + e.textContent.slice(0, 40));
  const scrolled = [...page.querySelectorAll(".wide")].filter(e => e.scrollWidth > e.clientWidth).length;
  const broken = [...page.images].filter(i => !i.complete || !i.naturalWidth).length;
  const inner = view.innerWidth, whole = page.documentElement.scrollWidth;
  document.title = JSON.stringify({inner, overflow: whole - width, outside, scrolled, broken});
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page, tmp_path, width):
    """In a frame, because a window of Chromium cannot be as narrow as a phone; wide tables scroll in themselves."""
    host = HOST.replace("WIDTH", str(width)).replace("PAGE", json.dumps(page).replace("</", "<\\/"))
    (tmp_path / "host.html").write_text(host, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    command += ["--dump-dom", (tmp_path / "host.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = json.loads(unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))
    assert (found["inner"], found["overflow"], found["outside"], found["broken"]) == (width, 0, [], 0)
    assert (found["scrolled"] > 0) == (width == 390)
