"""The same by a real browser: open the deployment, fill the form, press Run, see it complete.

``DTI_SCREENSHOTS=docs/images`` keeps the README's pictures.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from dti.params import Params, flatten
from tests.flows.served import SMALL, Served, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]
MINUTES = 60_000.0  # milliseconds


@pytest.fixture(scope="module")
def served(make_copy):
    copy = Served(make_copy(git=False))
    with copy.up():
        yield copy


@pytest.fixture(scope="module")
def page(served):
    with sync_playwright() as playwright:
        # Containers run as root, for whom Chromium has no sandbox; it visits this machine alone.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(2 * MINUTES)
        yield page
        browser.close()


def picture(page: Page, name: str) -> None:
    """Keep what is seen, where that is wanted."""
    if folder := os.environ.get("DTI_SCREENSHOTS"):
        page.wait_for_timeout(1000)  # fades
        page.screenshot(path=Path(folder) / f"ui-{name}.png")


def help_of(name: str) -> str:
    """The help of a parameter, which stands above its field."""
    model = Params
    *sections, leaf = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return str(model.model_fields[leaf].description)


def field(page: Page, name: str):
    return page.locator(f'xpath=//div[normalize-space()="{help_of(name)}"]/ancestor::div[.//input][1]//input')


def address(served: Served) -> str:
    return f"http://127.0.0.1:{served.ports[0]}"


def open_run(page: Page, served: Served, run: str) -> None:
    page.goto(f"{address(served)}/runs/flow-run/{run}")


def open_form(page: Page, served: Served) -> None:
    page.goto(f"{address(served)}/deployments")
    page.get_by_role("link", name="train", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").click()
    field(page, "demo.interactions").wait_for()


def test_a_run_from_the_form_is_seen_to_complete(served, page):
    open_form(page, served)
    for name, value in flatten(SMALL).items():
        field(page, name).fill(str(value))
    field(page, "pack.n").scroll_into_view_if_needed()
    page.get_by_text(help_of("demo.users")).scroll_into_view_if_needed()
    picture(page, "form")
    page.get_by_role("button", name="Submit").click()
    [run] = wait_for(lambda: served.api.call("POST", "/flow_runs/filter", {}), 60, "the run")
    open_run(page, served, run["id"])
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=15 * MINUTES)
    picture(page, "run")
    page.get_by_text("Artifacts", exact=True).last.click()
    page.get_by_text("metrics", exact=True).first.click()
    for words in ("popularity", "logistic regression", "oracle"):
        expect(page.get_by_text(words, exact=True).first).to_be_visible()
    picture(page, "metrics")
    [recorded] = served.mlflow_runs()
    for name, value in flatten(SMALL).items():
        assert recorded.data.params[name] == str(value)


def test_a_wrong_value_is_refused_in_the_form(served, page):
    before = len(served.api.call("POST", "/flow_runs/filter", {}))
    open_form(page, served)
    field(page, "pack.n").fill("0")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text(re.compile("minimum|greater than or equal")).first).to_be_visible()
    assert len(served.api.call("POST", "/flow_runs/filter", {})) == before


def test_cancel_is_a_button(served, page):
    run = served.start(params=SMALL | {"train": SMALL["train"] | {"epochs": 50000, "patience": 0}})
    training = served.training(run)
    open_run(page, served, run)
    page.get_by_role("button", name="Cancel", exact=True).first.click()
    picture(page, "cancel")
    page.get_by_role("button", name="Confirm", exact=True).click()
    assert served.ended(run) == "Cancelled"
    assert not training.is_running()
