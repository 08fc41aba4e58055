"""The live page, driven in a browser: what it shows is what the library says, whatever is done to it."""

import dataclasses
import random
import shutil

import numpy as np
import pytest

import idjax
from idjax.report.formatting import number, sentence
from idjax.settings import DiagnosisSettings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
    pytest.mark.filterwarnings("default"),  # of Panel, Bokeh and Tornado, which are not ours
]
SETTINGS = DiagnosisSettings(batch_size=8, learning_rate=0.02, epochs=10)
NAMES = ("learning_rate", "batch_size", "epochs", "optimizer", "momentum", "normalize", "loss_space", "start")
ROWS = 2 + np.random.default_rng(0).normal(size=(400, 6))

DRAWN = """name => {
  const model = Bokeh.documents.map(each => each.get_model_by_name(name)).find(each => each)
  return Object.fromEntries(Object.entries(model.data).map(([key, values]) => [key, Array.from(values)]))
}"""
"""The columns of a data source of the page."""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def live():
    pytest.importorskip("panel")
    served = idjax.explore(ROWS, SETTINGS)
    yield served
    served.close()


class Driven:
    """A page, and all that has gone wrong on it."""

    def __init__(self, browser, url, **options):
        self.page, self.errors, self.requests = browser.new_page(**options), [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("#findings article, #findings .good")

    def text(self, name):
        return self.page.locator(f"#{name} p").first.inner_text()

    def choose(self, name, option):
        self.page.locator(f".set-{name} select").select_option(label=option)

    def press(self, name, key, times=1):
        handle = self.page.locator(f".set-{name} .noUi-handle")
        for _ in range(times):
            handle.press(key)

    def label(self, name):
        """The words beside a slider."""
        return self.page.locator(f".set-{name} .bk-slider-value").inner_text()

    def settle(self, words):
        self.page.wait_for_function(
            "words => { const seen = root => [...root.querySelectorAll('*')].some(each => "
            "(each.shadowRoot && seen(each.shadowRoot)) || (each.children.length == 0 && each.textContent == words));"
            " return seen(document) }",
            arg=words,
        )


@pytest.fixture
def driven(browser, live):
    opened = Driven(browser, live.url)
    yield opened
    opened.page.close()


def verdict_of(settings):
    return sentence(idjax.diagnose(ROWS, settings, prescriptions=False).verdict)


def test_sliders_and_menus_change_what_is_shown(driven):
    driven.settle(verdict_of(SETTINGS))
    driven.press("learning_rate", "ArrowRight", 2)  # 0.02, 0.025, 0.03
    driven.choose("normalize", "centred")
    settings = dataclasses.replace(SETTINGS, learning_rate=0.03, normalize="center")
    driven.settle(verdict_of(settings))
    told = idjax.predict(ROWS, settings)
    drawn = driven.page.evaluate(DRAWN, "chosen")
    np.testing.assert_allclose(drawn["loss"], told.train, rtol=1e-7)
    np.testing.assert_allclose(drawn["explained"], told.explained_variance, rtol=0, atol=1e-7)
    np.testing.assert_allclose(driven.page.evaluate(DRAWN, "band")["high"], told.train_band.high, rtol=1e-6)
    given = driven.page.evaluate(DRAWN, "given")["loss"]
    np.testing.assert_allclose(given, idjax.predict(ROWS, SETTINGS, band=False).train, rtol=1e-7)
    assert f"Predicted loss: {number(told.train[0])} in epoch 1, {number(told.train[-1])} in epoch 10." in driven.text(
        "loss_words"
    )
    assert number(told.learning_rates.max) in driven.text("spectrum_words")
    assert driven.label("learning_rate") == "0.03"
    code = driven.page.locator("#code code").inner_text()
    assert "--learning-rate 0.03" in code
    assert "--normalize center" in code
    assert driven.errors == []


def test_a_training_is_laid_over_its_prediction(driven):
    driven.press("epochs", "ArrowRight")
    settings = dataclasses.replace(SETTINGS, epochs=15)
    driven.settle(verdict_of(settings))
    driven.page.get_by_role("button", name="Train this").click()
    driven.page.wait_for_function(f"(({DRAWN})('trained')).epoch.length == 15")
    trained = idjax.train(ROWS.astype("float32"), settings)
    np.testing.assert_allclose(driven.page.evaluate(DRAWN, "trained")["loss"], trained.train, rtol=1e-5)
    assert "Trained against predicted loss: within" in driven.text("training")
    driven.press("epochs", "ArrowLeft")  # the measured curve is that of the settings shown
    driven.page.wait_for_function(f"(({DRAWN})('trained')).epoch.length == 0")
    assert driven.errors == []


def test_two_hundred_changes_in_a_row(driven):
    rng = random.Random(0)
    menus = {
        "optimizer": ("sgd", "adam"),
        "normalize": ("raw", "centred", "per feature", "per sample", "whitened (PCA)", "whitened (ZCA)"),
        "start": ("glorot", "lecun", "identity"),
    }
    for _ in range(200):
        name = rng.choice((*NAMES[:-2], "start"))
        if name in menus:
            driven.choose(name, rng.choice(menus[name]))
        elif name != "momentum" or driven.page.locator(".set-momentum .noUi-handle").is_enabled():
            driven.press(name, rng.choice(("ArrowLeft", "ArrowRight")), rng.randint(1, 4))
    driven.page.get_by_role("button", name="Back to given").click()
    driven.settle(verdict_of(SETTINGS))
    assert driven.page.evaluate(DRAWN, "chosen") == driven.page.evaluate(DRAWN, "given")
    assert driven.label("learning_rate") == "0.02"
    assert driven.errors == []


def test_nothing_is_fetched_from_elsewhere(driven, live):
    assert len(driven.requests) > 5
    begin = (f"http://127.0.0.1:{live.port}/", f"blob:http://127.0.0.1:{live.port}/", "data:")
    assert [url for url in driven.requests if not url.startswith(begin)] == []


def test_without_the_token_nothing_is_there(browser, live):
    stranger = browser.new_context().new_page()
    for path in ("", "ws", "autoload.js", "static/js/bokeh.min.js", "x" * 32 + "/"):
        assert stranger.goto(f"http://127.0.0.1:{live.port}/{path}").status == 404
    assert stranger.goto(live.url).status == 200


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_in_both_schemes(browser, live, width, scheme):
    driven = Driven(browser, live.url, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert driven.page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = driven.page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        ".map(color => color.match(/\\\\d+/g).map(Number).reduce((sum, each) => sum + each))".replace("\\\\", "\\")
    )
    assert (ink > paper) == (scheme == "dark")
    driven.page.close()


def test_names_from_the_data_do_nothing(browser, tmp_path):
    pytest.importorskip("panel")
    evil = "<img src=x onerror=alert(1)>$$x$$"
    file = tmp_path / f"{evil}.csv"
    np.savetxt(file, ROWS, delimiter=",")
    served = idjax.explore(file, SETTINGS)
    driven = Driven(browser, served.url)
    assert evil in driven.page.locator(".about").inner_text()
    assert evil in driven.page.locator("#code code").inner_text()
    assert driven.page.locator("img").count() == 0
    assert driven.errors == []
    driven.page.close()
    served.close()
