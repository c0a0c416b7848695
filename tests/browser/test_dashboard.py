"""The dashboard in a real browser: every view, its address, its keys, its looks, and the six main tasks."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import uvicorn
from tests.browser.conftest import Visit, until, visit_with

from linkwise.serve.app import make_app

pytestmark = pytest.mark.browser
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
VIEWS = {
    "home": "#/",
    "churn": "#/run/churn/users",
    "lists": "#/run/songs/lists",
    "rank": "#/run/brew/rank",
    "prompt": "#/run/brew/prompt",
    "map": "#/run/codes/map?codes=yes",
    "pairs": "#/run/codes/pairs",
    "links": "#/run/links/links",
    "link-map": "#/run/links/map?pollutant=zinc",
    "match": "#/run/pairs/match",
    "graphs": "#/run/graphs/graphs",
    "own-graph": "#/run/graphs/own",
    "report": "#/run/graphs/report",
    "tables": "#/run/links/tables?table=links",
    "ask": "#/run/links/ask",
}


@pytest.mark.parametrize("name", list(VIEWS))
def test_every_view_opens(visit: Visit, name: str) -> None:
    page = visit.open(VIEWS[name])
    assert page.locator("h1").count() == 1
    assert page.locator(".problem").count() == 0
    visit.picture(name)


@pytest.mark.parametrize("name", list(VIEWS))
def test_no_view_is_wider_than_a_phone(browser: Any, served: str, name: str) -> None:
    for visit in visit_with(
        browser, served, viewport={"width": 360, "height": 780}, has_touch=True, is_mobile=True
    ):
        page = visit.open(VIEWS[name])
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        visit.picture(f"phone-{name}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(VIEWS))
def test_axe_finds_nothing_serious(browser: Any, served: str, name: str, scheme: str) -> None:
    if not AXE.is_file():
        pytest.skip("web/node_modules is not there; `make test-browser` installs it")
    for visit in visit_with(
        browser,
        served,
        viewport={"width": 1280, "height": 900},
        color_scheme=scheme,
        bypass_csp=True,
    ):
        page = visit.open(VIEWS[name])
        page.add_script_tag(path=str(AXE))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"][:200])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == []
        visit.picture(f"{scheme}-{name}")


# ------------------------------------------------------------------------------------------- addresses


def test_a_view_is_restored_from_its_address(visit: Visit) -> None:
    page = visit.open("#/run/churn/users")
    page.get_by_label("Reason contains").fill("no events")
    page.get_by_label("Offer to users with a risk of at least").fill("60")
    until(page, "location.hash.includes('from=0.6') && location.hash.includes('reason=no')")
    visit.settle()
    rows = page.locator("table").first.inner_text()
    again = visit.open(page.url.split("/app/")[1])
    assert again.get_by_label("Reason contains").input_value() == "no events"
    assert again.get_by_label("Offer to users with a risk of at least").input_value() == "60"
    assert again.locator("table").first.inner_text() == rows


def test_back_goes_back(visit: Visit) -> None:
    page = visit.open("#/")
    page.get_by_role("link", name="Recommenders compared").click()
    page.get_by_role("link", name="Tables", exact=True).click()
    visit.settle()
    page.go_back()
    page.wait_for_selector("text=The history, oldest first")
    page.go_back()
    page.wait_for_selector("h1:text('Runs')")


def test_the_map_is_restored_with_its_place(visit: Visit) -> None:
    page = visit.open("#/run/codes/map")
    canvas = page.locator("canvas")
    assert canvas.get_attribute("data-renderer") == "WebGL"
    page.get_by_label("Zoom in").click()
    page.get_by_label("Zoom in").click()
    until(page, "/eye=.*2\\.250/.test(decodeURIComponent(location.hash))")
    page.get_by_label("Colour by").select_option("year")
    visit.settle()
    page.wait_for_timeout(300)
    before = canvas.screenshot()
    again = visit.open(page.url.split("/app/")[1])
    again.wait_for_timeout(300)
    assert again.get_by_label("Colour by").input_value() == "year"
    assert again.locator("canvas").screenshot() == before


# -------------------------------------------------------------------------------------- what views do


def test_filters_and_files_of_the_users_at_risk(visit: Visit, runs: Path, tmp_path: Path) -> None:
    page = visit.open("#/run/churn/users?from=0.5")
    expected = pl.read_parquet(runs / "churn" / "ranking.parquet").filter(
        pl.col("probability") >= 0.5
    )
    assert page.get_by_text(f"{len(expected)} users").count() >= 1
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as CSV").click()
    saving.value.save_as(tmp_path / "users.csv")
    assert len(pl.read_csv(tmp_path / "users.csv")) == len(expected)


def test_the_profit_is_that_of_the_run(visit: Visit, runs: Path) -> None:
    """Counted again from the list and the run's costs."""
    from linkwise.run import Run

    run = Run.open(runs / "churn")
    costs = run.config.churn
    offered = run.ranking.filter(
        ~pl.col("action").str.contains("silent"), pl.col("probability") >= 0.3
    )["probability"]
    expected = (offered * costs.offer_success * costs.user_value - costs.offer_cost).sum()
    page = visit.open("#/run/churn/users?from=0.3")
    said = page.locator("p:has-text('expected profit') strong").all_inner_texts()
    assert abs(int(said[0].replace(",", "")) - len(offered)) <= 2
    assert float(said[1].replace(",", "").replace("−", "-")) == pytest.approx(expected, abs=3)


def test_flags_are_those_of_benjamini_and_hochberg(visit: Visit, runs: Path) -> None:
    from linkwise.metrics.multiple import benjamini_hochberg

    ranking = pl.read_parquet(runs / "graphs" / "ranking.parquet")
    model, query = ranking.select("model", "query").row(0)
    p = ranking.filter(pl.col("model") == model, pl.col("query") == query)["p_value"].to_numpy()
    for rate in (0.05, 0.3):
        page = visit.open(f"#/run/graphs/graphs?rate={rate}")
        expected = int(benjamini_hochberg(p, len(p), rate).sum())
        assert page.locator("p:has-text('graphs are flagged') strong").inner_text() == str(expected)


def test_a_lasso_lists_patents(visit: Visit) -> None:
    page = visit.open("#/run/codes/map")
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 150, y - 150)
    page.mouse.down()
    for dx, dy in ((150, -150), (150, 150), (-150, 150), (-150, -150)):
        page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()
    page.wait_for_selector("text=Chosen on the map")
    assert "patents chosen" in page.locator("p[role=status]:has-text('chosen')").inner_text()


def test_a_map_shows_how_well_patents_go_with_a_pollutant(visit: Visit, runs: Path) -> None:
    page = visit.open("#/run/links/links")
    page.get_by_role("link", name="zinc on the map").click()
    visit.settle()
    ranking = pl.read_parquet(runs / "links" / "ranking.parquet").filter(
        query_kind="patent", item_kind="pollutant", item="zinc"
    )
    low, high = ranking["score"].min(), ranking["score"].max()
    told = page.get_by_text("How well a patent goes with zinc").inner_text()
    for score in (low, high):
        assert f"{score:.3f}".removeprefix("0") in told
    page.get_by_role("combobox", name="Patents of one pollutant").fill("copp")
    page.locator(".finder [role=option]").first.click()
    page.wait_for_selector("text=How well a patent goes with copper")
    page.get_by_label("Colour by").select_option("topic")
    until(page, "!location.hash.includes('copper')")


def test_a_map_shows_the_patents_of_a_code(visit: Visit, runs: Path) -> None:
    code = pl.read_parquet(runs / "codes" / "map.parquet").filter(kind="code")["id"][0]
    page = visit.open("#/run/codes/map")
    page.get_by_role("combobox", name="Patents of one code").fill(code)
    page.locator(".finder [role=option]").first.click()
    page.wait_for_selector(f"text=patents with {code}")
    visit.picture("map-code")


def test_techniques_stand_below_their_chapters(visit: Visit) -> None:
    page = visit.open("#/run/links/links")
    chapters = page.locator(".tree .tree > li > details").all()
    assert len(chapters) == 2  # of the one document
    assert "Filters manual:::2.1" in chapters[1].text_content()


def test_codes_have_a_map_of_their_own(visit: Visit, runs: Path) -> None:
    codes = pl.read_parquet(runs / "codes" / "map.parquet").filter(kind="code")
    page = visit.open("#/run/codes/map")
    page.get_by_label("Points are").select_option("code")
    until(page, f"document.querySelector('canvas').dataset.drawn === '{len(codes)}'")
    assert (
        page.get_by_role("application")
        .get_attribute("aria-label")
        .startswith(f"Map of {len(codes)} codes")
    )
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for x, y in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.up()
    page.wait_for_selector(f"text={len(codes)} codes chosen")
    name = str(codes["id"][0])
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_selector(f"text=Forecast pairs with {name}")


def test_without_webgl_the_map_is_drawn_on_a_plain_canvas(browser: Any, served: str) -> None:
    for visit in visit_with(browser, served, viewport={"width": 1000, "height": 800}):
        visit.page.add_init_script(
            "const own = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
            "  return kind === 'webgl' ? null : own.call(this, kind, ...rest); };"
        )
        page = visit.open("#/run/codes/map")
        canvas = page.locator("canvas[data-drawn]")
        canvas.wait_for()
        assert canvas.get_attribute("data-renderer") == "canvas"
        painted = canvas.evaluate(
            "c => c.getContext('2d').getImageData(0, 0, c.width, c.height)"
            ".data.filter((v, k) => k % 4 === 3 && v).length"
        )
        assert painted > 1000


def test_markup_in_titles_is_shown_as_text(browser: Any, runs: Path, tmp_path: Path) -> None:
    title = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    root = tmp_path / "runs"
    shutil.copytree(runs / "songs", root / title.replace("/", "-"))
    path = root / title.replace("/", "-") / "recommendations.parquet"
    pl.read_parquet(path).with_columns(title=pl.lit(title)).write_parquet(path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = uvicorn.Server(uvicorn.Config(make_app(root), port=port, log_level="warning"))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        for visit in visit_with(browser, f"http://127.0.0.1:{port}"):
            faults = visit.faults
            visit.page.on("dialog", lambda dialog, faults=faults: faults.append(dialog.message))
            page = visit.open("#/")
            page.get_by_role("link", name="Recommenders compared").click()
            visit.settle()
            user = str(pl.read_parquet(path)["user"][0])
            visit.open(f"{page.url.split('/app/')[1].split('?')[0]}?user={user}")
            assert page.get_by_text(title, exact=True).count() > 0
    finally:
        service.should_exit = True
        thread.join(20)


def test_the_token_is_asked_for(browser: Any, runs: Path) -> None:
    token = "0123456789abcdef"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = uvicorn.Server(
        uvicorn.Config(make_app(runs, token=token), port=port, log_level="warning")
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/readyz")
                break
            except httpx.HTTPError:
                time.sleep(0.05)
        for visit in visit_with(browser, f"http://127.0.0.1:{port}"):
            page = visit.page
            page.goto(f"{visit.address}/")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Go on").click()
            page.wait_for_selector("h1:text('Runs')")
            page.get_by_role("link", name="Who will be gone").click()
            page.wait_for_selector("text=Users, the riskiest first")
            visit.faults = [fault for fault in visit.faults if "401" not in fault]
    finally:
        service.should_exit = True
        thread.join(20)


# ------------------------------------------------------------------------------------ by keyboard alone


def press_to(page: Any, words: str, most: int = 60) -> None:
    """Press Tab until what has the focus says the words."""
    for _ in range(most):
        page.keyboard.press("Tab")
        said = page.evaluate(
            "(() => { const e = document.activeElement; return (e.getAttribute('aria-label') || '') + ' ' + "
            "(e.labels?.[0]?.innerText || '') + ' ' + e.innerText; })()"
        )
        if words in said:
            return
    raise AssertionError(f"the focus never came to {words!r}")


def test_a_list_is_made_by_keyboard_alone(visit: Visit) -> None:
    page = visit.open("#/")
    press_to(page, "Recommenders compared")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The history, oldest first")
    visit.settle()
    press_to(page, "Add to a history")
    page.wait_for_selector("[role=option]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('history=')")
    visit.settle()
    assert page.locator(".chips li").count() == 1


def test_the_map_moves_by_keys(visit: Visit) -> None:
    page = visit.open("#/run/codes/map")
    press_to(page, "Arrow keys move")
    for key in ("+", "+", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    until(page, "/eye=0\\.\\d+,0\\.\\d+,1\\.69/.test(decodeURIComponent(location.hash))")
    page.keyboard.press("0")
    until(page, "!location.hash.includes('eye=')")


def test_the_skip_link_comes_first(visit: Visit) -> None:
    page = visit.open("#/run/churn/users")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("window.getSelection().removeAllRanges()")
    page.locator("a.skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


# ------------------------------------------------------------------ the six main tasks, from the home page


class Clicks:
    """Counts what a user clicks; a choice by keys after a click counts as part of it."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.page = visit.open("#/")
        self.n = 0

    def click(self, locator: Any) -> None:
        locator.click()
        self.n += 1
        self.visit.settle()


def test_find_a_users_risk_and_reasons(visit: Visit, runs: Path) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Who will be gone"))
    user = str(pl.read_parquet(runs / "churn" / "ranking.parquet")["item"][5])
    todo.click(todo.page.get_by_label("User", exact=True))
    todo.page.keyboard.type(user)
    row = todo.page.locator("tr", has_text=user)
    row.wait_for()
    assert row.count() == 1
    assert todo.n <= 4


def test_get_recommendations_for_a_typed_history(visit: Visit) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Recommenders compared"))
    todo.click(todo.page.get_by_role("combobox", name="Add to a history"))
    todo.page.keyboard.type("a")
    todo.click(todo.page.locator(".finder [role=option]").first)
    assert todo.page.locator(".chips li").count() == 1
    assert todo.page.locator("ol.list li").count() >= 10
    assert todo.n <= 4


def test_find_a_forecast_pair_and_its_evidence(visit: Visit) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Which technologies will be combined"))
    todo.click(todo.page.get_by_role("link", name="Pairs"))
    todo.click(todo.page.locator("button.link").first)
    assert todo.page.get_by_text("Patents with each").count() == 1
    assert todo.n <= 4


def test_find_techniques_for_a_patent(visit: Visit) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Patents, techniques, pollutants and goals"))
    todo.click(todo.page.get_by_role("combobox", name="Find a patent"))
    todo.page.keyboard.type("P7")
    todo.click(todo.page.locator(".finder [role=option]").first)
    assert todo.page.get_by_text("Linked techniques").count() == 1
    assert todo.n <= 4


def test_see_why_a_graph_is_strange(visit: Visit) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Graphs that do not belong"))
    assert todo.page.locator("td:has-text('of the score')").count() > 0
    assert todo.page.locator("svg.network").count() > 0
    assert todo.n <= 4


def test_ask_a_question_and_open_its_source(visit: Visit) -> None:
    todo = Clicks(visit)
    todo.click(todo.page.get_by_role("link", name="Patents, techniques, pollutants and goals"))
    todo.click(todo.page.get_by_role("link", name="Ask"))
    todo.click(todo.page.get_by_role("button", name="Which pollutant has the most patents?"))
    todo.page.wait_for_selector(".sources a")
    todo.click(todo.page.locator(".sources a").first)
    assert "/tables" in todo.page.url or "/report" in todo.page.url
    assert todo.n <= 4
