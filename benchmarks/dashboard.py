"""Claims on the dashboard's map: seconds to the first draw, frames a second of a pan, seconds of a search.

    python benchmarks/dashboard.py runs/demo/codes
    python benchmarks/dashboard.py RUN --points 650000 100000

RUN is a run of forecast with a map. Its patents are repeated, each a little beside itself, until there are as
many points as asked for; what is drawn means nothing. Debian's Chromium draws by software: there is no GPU.
The seconds of the first draw count from the navigation to a picture of the page with all points on it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import psutil

from serve import start

FLAGS = [
    "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Moves the map by a pixel or two a frame; a pixel is read back each time, so that a frame counts when drawn.
PAN = """async (seconds) => {
  const canvas = document.querySelector('canvas'), gl = canvas.getContext('webgl');
  const box = canvas.getBoundingClientRect(), pixel = new Uint8Array(4);
  const send = (kind, x) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: box.x + x, clientY: box.y + 200, pointerId: 1, bubbles: true }));
  canvas.setPointerCapture = () => undefined;
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  send('pointerdown', 200);
  let frames = 0, x = 200;
  const began = performance.now();
  while (performance.now() - began < 1000 * seconds) {
    send('pointermove', x = x > 400 ? 200 : x + 3);
    await frame();
    gl?.readPixels(5, 5, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    frames++;
  }
  send('pointerup', x);
  return frames / (performance.now() - began) * 1000;
}"""


def grow(run: Path, n: int, out: Path) -> None:
    """A copy of the run whose map has `n` patents."""
    shutil.copytree(run, out)
    table = pl.read_parquet(run / "map.parquet")
    patents = table.filter(pl.col("kind") == "patent")
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(patents), n)
    many = patents[rows].with_columns(
        pl.Series("id", [f"EP{k:07}" for k in range(n)]),
        *(
            pl.col(axis) + pl.Series(rng.normal(0, 0.3, n).astype(np.float32))
            for axis in ("x", "y")
        ),
    )
    pl.concat([many, table.filter(pl.col("kind") != "patent")]).write_parquet(out / "map.parquet")


def until(page: Any, expression: str, seconds: float = 120) -> None:
    """Wait until an expression holds."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise SystemExit(f"never: {expression}")
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000, 650_000])
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        for n in given.points:
            grow(given.run, n, Path(folder) / f"map-{n}")
        process, address, _ = start(Path(folder))
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        try:
            for n in given.points:
                measure(browser, address, n, given.repeats, process)
        finally:
            browser.close()
            process.terminate()
            process.wait()


def measure(
    browser: Any, address: str, n: int, repeats: int, process: subprocess.Popen[str]
) -> None:
    """Print what one map takes."""
    firsts, rates = [], []
    for _ in range(repeats):
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        began = time.perf_counter()
        page.goto(f"{address}/app/#/run/map-{n}/map")
        until(page, f"document.querySelector('canvas')?.dataset.drawn === '{n}'")
        page.screenshot()
        firsts.append(time.perf_counter() - began)
        page.wait_for_load_state("networkidle")
        rates.append(page.evaluate(PAN, 3))
        kind = page.evaluate("document.querySelector('canvas').dataset.renderer")
        page.close()
    print(
        f"{n:,} points by {kind}: first draw {median(firsts):.2f} s ({min(firsts):.2f} to "
        f"{max(firsts):.2f}), pan {median(rates):.0f} frames a second ({min(rates):.0f} to {max(rates):.0f})"
    )
    import httpx

    seconds = []
    path = f"{address}/v1/runs/map-{n}/tables/map/search"
    words = ["EP01", "EP0500", "method de", "system", "a", "zzz", "EP0099999"]
    for word in words * 3:
        began = time.perf_counter()
        params = {"q": word, "column": ["id", "title"], "limit": 12}
        httpx.get(path, params=params, timeout=60).raise_for_status()
        seconds.append(time.perf_counter() - began)
    memory = psutil.Process(process.pid).memory_info().rss / 2**20
    rest = sorted(seconds[1:])
    print(
        f"    search by beginnings of words: first {1000 * seconds[0]:.0f} ms, then median "
        f"{1000 * median(rest):.0f} ms, slowest {1000 * rest[-1]:.0f} ms; service {memory:,.0f} MiB"
    )


if __name__ == "__main__":
    sys.exit(main())
