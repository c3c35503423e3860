"""How a browser shows the report."""

import copy
import os
import re
import shutil
from pathlib import Path

import pytest
from report_folder import NASTY, SCRIPT

BROWSER = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(BROWSER).is_file():
        pytest.skip(f"no chromium at {BROWSER}: set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(built, tmp_path_factory) -> Path:
    """Both files, two tools, a missing score, a nasty name, a failure."""
    run = copy.deepcopy(built)
    run.out = Path(shutil.copytree(built.out, tmp_path_factory.mktemp("shown") / "ours"))
    run.second_tool()
    first = run.predictions["cases"][0]["case"]
    for entry in [*run.predictions["cases"], *run.evaluation["cases"]]:
        entry["case"] = SCRIPT + NASTY if entry["case"] == first else entry["case"]
    run.predictions["cases"][1]["quality"] = 0.1
    run.predictions["failures"] = [{"scan": "long/" * 40 + NASTY, "reason": SCRIPT}]
    for entry, volume in zip(run.evaluation["cases"], (9.5, 100, 9.25, 3, 1000), strict=False):
        entry["volumes_ml"] = {"prediction": {"RV": 1.0, "MYO": 1.0, "LV": volume}}
    run.evaluation["cases"][5]["volumes_ml"] = None
    run.predictions["cases"][5]["volumes_ml"] = None
    run.write()
    return run.out / "report.html"


@pytest.fixture
def opened(browser, page_file):
    """Opens the page; at the end nothing may have been asked of a network or said on the console."""
    contexts, messages, asked = [], [], []

    def open_page(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def column(page, number: int) -> list[str]:
    cells = page.locator(f"#cases ~ .box tbody tr > :nth-child({number})")
    return [cell.get_attribute("data-value") for cell in cells.all()]


def place_of(page, text: str) -> int:
    heads = [head.inner_text().strip() for head in page.locator("#cases ~ .box thead tr:last-child th").all()]
    return len(heads) - heads[::-1].index(text)


@pytest.mark.slow
def test_a_click_sorts_rows_as_numbers_and_a_second_one_turns_them(opened):
    page = opened()
    lv = place_of(page, "LV")  # the last of them: the volumes
    head = page.locator(f"#cases ~ .box thead tr:last-child th:nth-child({lv})")
    before = column(page, 1)
    head.get_by_role("button").click()
    up = column(page, lv)
    assert [float(value) for value in up if value] == [3, 9.25, 9.5, 100, 1000]  # 9.5 before 9.25, were they text
    assert up[5:] == [""] and head.get_attribute("aria-sort") == "ascending"  # missing ones last
    head.get_by_role("button").click()
    assert [float(value) for value in column(page, lv) if value] == [1000, 100, 9.5, 9.25, 3]
    assert column(page, lv)[5:] == [""] and head.get_attribute("aria-sort") == "descending"
    assert sorted(column(page, 1)) == sorted(before)  # whole rows moved
    assert page.locator("th[aria-sort]").count() == 1


@pytest.mark.slow
def test_the_keyboard_sorts_too(opened):
    page = opened()
    button = page.locator("#cases ~ .box thead tr:last-child th:nth-child(1) button")
    button.focus()
    page.keyboard.press("Enter")
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)
    page.keyboard.press("Space")
    assert column(page, 1) == sorted(column(page, 1), key=str.lower, reverse=True)


@pytest.mark.slow
def test_a_row_leads_to_its_card(opened):
    page = opened()
    link = page.locator("#cases ~ .box tbody a").nth(2)
    link.click()
    card = page.locator("article:target")
    assert card.locator("h3").inner_text() == link.inner_text()


@pytest.mark.slow
def test_nasty_names_are_shown_and_not_run(opened):
    page = opened()
    assert "caught" not in page.title()
    assert SCRIPT + NASTY in [head.inner_text() for head in page.locator("h3").all()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_the_page_never_scrolls_sideways(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    spilt = page.evaluate(
        "[...document.querySelectorAll('main *, header *, footer *')].filter(e => !e.closest('.scroll, .plots'))"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert spilt == []


CONTRAST = """
() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if ((parse(c)[3] ?? 1) > 0) return c; } return "rgb(255,255,255)"; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.closest("script, style, svg")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)]);
  }
  return found;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_of_wcag_aa(opened, scheme):
    texts = opened(scheme=scheme).evaluate(CONTRAST)
    assert len(texts) > 100
    assert [(round(ratio, 2), text) for ratio, text in texts if ratio < 4.5] == []


@pytest.mark.slow
def test_the_dark_scheme_is_dark(opened):
    back = [
        opened(scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    sums = [sum(map(int, re.findall(r"\d+", colour))) for colour in back]
    assert sums[0] > 700 and sums[1] < 100


@pytest.mark.slow
def test_outlines_can_be_taken_away(opened):
    page = opened()
    truth, prediction = (page.locator(f"svg g.{name}").nth(0) for name in ("truth", "prediction"))
    assert truth.is_visible() and prediction.is_visible()
    page.get_by_label("Truth").uncheck()
    assert not truth.is_visible() and prediction.is_visible()
    page.get_by_label("Truth").check()
    page.get_by_label("Prediction").uncheck()
    assert truth.is_visible() and not prediction.is_visible()


@pytest.mark.slow
def test_every_picture_can_be_seen(opened):
    page = opened()
    broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth > 20)).length"
    assert page.evaluate(broken) == 0 and page.evaluate("document.images.length") > 30
    sizes = page.evaluate("[...document.querySelectorAll('.slices svg')].map(s => s.getBoundingClientRect().width)")
    assert len(sizes) > 15 and min(sizes) > 100


@pytest.mark.slow
def test_no_table_is_clipped_at_1180_pixels(opened):
    page = opened(1180)
    clipped = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{clipped}.map(e => e.getAttribute('aria-labelledby'))") == []


@pytest.mark.slow
def test_the_slider_leafs_through_the_slices_with_the_keyboard(opened):
    page = opened()
    viewer = page.locator(".viewer").first
    page.locator(".all summary").first.click()
    slider = viewer.get_by_role("slider", name="Slice")
    shown = "e => [...e.querySelectorAll('.stage figure')].map(f => f.offsetHeight > 0)"
    before = viewer.evaluate(shown)
    assert sum(before) == 1
    slider.press("ArrowLeft")
    assert viewer.evaluate(shown) == [*before[1:], False]
    assert re.match(r"slice \d+ of \d+ Dice RV \d", slider.get_attribute("aria-valuetext"))


@pytest.mark.slow
def test_paper_is_light_and_has_no_controls(opened):
    page = opened(scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", colour)[:3])) == 765
    assert not page.locator(".all").first.is_visible() and not page.get_by_text("↑ table").first.is_visible()
