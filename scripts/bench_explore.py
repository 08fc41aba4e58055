"""Times the live page in a browser: from a key on a slider to the frame that shows what it leads to.

python scripts/bench_explore.py [--columns 84 768]
"""

import argparse
import shutil
import statistics

import numpy as np
from playwright.sync_api import Locator, sync_playwright  # pyright: ignore[reportMissingImports]

import idjax

DRAWN = """async (handle, key) => {
  const model = Bokeh.documents.map(each => each.get_model_by_name("chosen")).find(each => each)
  const begin = performance.now()
  const drawn = new Promise(told => model.properties.data.change.connect(() =>
    requestAnimationFrame(() => requestAnimationFrame(() => told(performance.now() - begin)))))
  handle.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}))
  return await drawn
}"""
"""Milliseconds from the key to the second frame after the curve has come."""
SLIDERS = ("learning_rate", "batch_size", "epochs", "momentum")


def rows(columns: int) -> np.ndarray:
    """Rows with a mean, of unequal scales."""
    rng = np.random.default_rng(0)
    return 1 + rng.normal(size=(4 * columns, columns)) * np.geomspace(1, 0.1, columns)


def keys(handle: Locator, count: int) -> list[float]:
    """The times of some keys to the right and back, each after the last was drawn."""
    return [handle.evaluate(DRAWN, "ArrowRight" if turn % 2 == 0 else "ArrowLeft") for turn in range(count)]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--columns", type=int, nargs="+", default=[84, 768])
    for columns in asked.parse_args().columns:
        live = idjax.explore(rows(columns), idjax.DiagnosisSettings(batch_size=32, learning_rate=0.001))
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(live.url)
            page.wait_for_selector("#findings article, #findings .good", timeout=600_000)
            for name in SLIDERS:
                handle = page.locator(f".set-{name} .noUi-handle")
                first, *_ = keys(handle, 2)
                page.wait_for_timeout(500)
                news = []
                for _ in range(4):  # further to the right each time: nothing is known of these yet
                    news.append(handle.evaluate(DRAWN, "ArrowRight"))
                print(
                    f"{columns} columns, {name}: first {first:.0f} ms, then {statistics.median(news):.0f} ms",
                    flush=True,
                )
            browser.close()
        live.close()


if __name__ == "__main__":
    main()
