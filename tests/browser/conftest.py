"""A service over small runs, and a browser that may ask nothing of any other host."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.serve.conftest import runs

from linkwise.serve.app import make_app

__all__ = ["runs"]
CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
# WebGL by software, and none of the browser's own calls to its maker.
FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip


@pytest.fixture(scope="session")
def served(runs: Path) -> Iterator[str]:
    """The address of a service over the runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = uvicorn.Server(uvicorn.Config(make_app(runs), port=port, log_level="warning"))
    thread = threading.Thread(target=service.run)
    thread.start()
    address = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            httpx.get(f"{address}/readyz")
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    yield address
    service.should_exit = True
    thread.join(20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not there; `make test-browser` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def until(page: Any, expression: str, seconds: float = 15) -> None:
    """Wait until an expression holds; the page's own policy forbids the evaluation within it."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.03)


@dataclass
class Visit:
    """A page, and what went wrong on it."""

    page: Any
    address: str
    faults: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def open(self, route: str) -> Any:
        """Go to a view, and wait until all is loaded."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/app/{route}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until nothing is loading."""
        self.page.wait_for_load_state("networkidle")
        until(
            self.page,
            "!document.querySelector('.wait, [aria-busy=true]') && !!document.querySelector('h1')",
        )

    def picture(self, name: str) -> None:
        """Keep a picture of the view, for a person to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def visit_with(browser: Any, address: str, **options: Any) -> Iterator[Visit]:
    """A visit by a browser of its own, at whose end no fault and no request to another host may have been."""
    context = browser.new_context(**options)
    found = Visit(context.new_page(), address)

    def asked(route: Any) -> None:
        if route.request.url.startswith((address, "blob:", "data:")):
            route.continue_()
        else:
            found.others.append(route.request.url)
            route.abort()

    context.route("**/*", asked)
    found.page.set_default_timeout(15_000)
    found.page.on("pageerror", lambda error: found.faults.append(str(error)))
    found.page.on(
        "console", lambda said: found.faults.append(said.text) if said.type == "error" else None
    )
    yield found
    context.close()
    assert found.others == []
    assert found.faults == []


@pytest.fixture
def visit(browser: Any, served: str) -> Iterator[Visit]:
    """A visit at a desk."""
    yield from visit_with(browser, served, viewport={"width": 1280, "height": 900})
