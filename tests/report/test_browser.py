"""The page in a real browser: Chromium without a window, driven by selenium. Skipped where there is none."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_cases import made_up_sweep

from lit_adaptconv.report.content import read_content
from lit_adaptconv.report.figure_files import write_pictures
from lit_adaptconv.report.figures import main_figures
from lit_adaptconv.report.page import page
from lit_adaptconv.verdict.metric import ACCURACY

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="there is no Chromium with its chromedriver"),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"
MARKS = "return [...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('.points path, .js-line').length)"
DRAWN = "return [...document.querySelectorAll('.card')].map(c => c.querySelector('.plot').innerHTML)"
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    made_up_sweep(folder, arms=("standard", HOSTILE, "adaptive"), name="made-up")
    (folder / "index.html").write_text(page([read_content(folder)]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def opened(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens a page in a window of the given width, in a browser with an empty profile, and hears its network."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))

    def show(path: Path = made / "index.html", width: int = 1280, scheme: str = "light") -> Any:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.get(path.as_uri())
        wait(lambda: driver.execute_script("return document.documentElement.dataset.ready") == "true")
        return driver

    yield show
    driver.quit()


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def choose(driver: Any, pick: str, value: str) -> None:
    driver.execute_script(
        "const s = document.querySelector(`[data-pick=${arguments[0]}]`); s.value = arguments[1];"
        "s.dispatchEvent(new Event('change', {bubbles: true}))",
        pick,
        value,
    )


def column(driver: Any, name: str) -> list[str]:
    script = (
        "const i = [...document.querySelectorAll('.trials th')].findIndex(t => t.textContent === arguments[0]);"
        "return [...document.querySelectorAll('.trials tbody tr')].map(r => r.children[i].textContent)"
    )
    found: list[str] = driver.execute_script(script, name)
    return found


def test_it_opens_without_an_error_or_a_request_and_every_figure_has_marks(opened: Open) -> None:
    driver = opened()
    assert driver.get_log("browser") == []
    asked = [
        entry["message"] for entry in driver.get_log("performance") if '"Network.requestWillBeSent"' in entry["message"]
    ]
    assert len(asked) == 1  # the page itself
    assert '"url":"file:' in asked[0]
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    marks = driver.execute_script(MARKS)
    assert len(marks) == 6
    assert all(n >= 2 for n in marks)


def test_a_hostile_name_stays_text(opened: Open) -> None:
    driver = opened()
    assert driver.execute_script("return window.hacked") is None
    assert driver.execute_script("return document.querySelectorAll('main img').length") == 0
    chips = driver.execute_script("return [...document.querySelectorAll('.arm')].map(a => a.title)")
    assert chips == ["standard", HOSTILE, "adaptive"]
    assert HOSTILE in column(driver, "Arm")
    labels = driver.execute_script("return [...document.querySelectorAll('.annotation-text')].map(a => a.textContent)")
    assert HOSTILE[:23] + "…" in labels


def test_each_selector_changes_the_figures_that_it_speaks_of(opened: Open) -> None:
    driver = opened()
    places = driver.execute_script("return [...document.querySelectorAll('.card')].map(c => c.dataset.place)")

    def changed(act: Callable[[], None]) -> set[str]:
        before = driver.execute_script(DRAWN)
        act()
        after = driver.execute_script(DRAWN)
        return {place for place, old, new in zip(places, before, after, strict=True) if old != new}

    first = driver.find_element("css selector", "[data-pick=target]").get_attribute("value")
    assert {"survival", "ratio"} <= changed(lambda: choose(driver, "target", "0.9" if first == "0.8" else "0.8"))
    for measure in ("epochs", "flops", "seconds"):
        assert {"curves", "survival", "ratio"} <= changed(lambda measure=measure: choose(driver, "measure", measure))
    assert {"curves", "survival"} <= changed(lambda: choose(driver, "budget", "1200"))
    seen = "return [...document.querySelectorAll('.equal')].filter(e => e.offsetHeight).map(e => e.dataset.size)"
    assert driver.execute_script(seen) == []
    for size in ("flops", "width"):
        assert "pareto" in changed(lambda size=size: choose(driver, "size", size))
        assert driver.execute_script(seen) == [size]
    rows = len(column(driver, "Arm"))
    off = "document.querySelector('.arm input[value=\"2\"]').click()"
    assert changed(lambda: driver.execute_script(off)) == set(places)
    assert set(column(driver, "Arm")) == {"standard", HOSTILE}
    assert len(column(driver, "Arm")) == rows * 2 / 3
    assert driver.get_log("browser") == []


def test_the_verdict_speaks_of_the_chosen_target(opened: Open) -> None:
    driver = opened()
    for target, words in (("0.8", "80 %"), ("0.9", "90 %")):
        choose(driver, "target", target)
        assert f"steps to {words}" in driver.find_element("css selector", ".verdict").text


def test_the_table_sorts_and_filters(opened: Open) -> None:
    driver = opened()
    header = {b.text: b for b in driver.find_elements("css selector", ".trials th button")}

    def press(name: str) -> list[str]:
        driver.execute_script(
            "[...document.querySelectorAll('.trials th button')].find(b => b.textContent === arguments[0]).click()",
            name,
        )
        return column(driver, name)

    assert {"Arm", "Test", "Status", "Reason"} <= set(header)
    numbers = [float(value.rstrip(" %")) for value in press("Test") if value != "–"]
    assert numbers == sorted(numbers)
    assert column(driver, "Test")[-2:] == ["–", "–"]  # what failed comes last, in either order
    numbers = [float(value.rstrip(" %")) for value in press("Test") if value != "–"]
    assert numbers == sorted(numbers, reverse=True)
    assert column(driver, "Test")[-2:] == ["–", "–"]
    assert len(column(driver, "Arm")) == 72
    driver.find_element("css selector", "[data-filter=text]").send_keys("memoryerror adaptive")
    assert column(driver, "Status") == ["failed"]
    assert "MemoryError: <b>not enough</b>" in column(driver, "Reason")[0]
    assert "1 of 72 trials" in driver.find_element("css selector", ".count").text
    driver.find_element("css selector", "[data-filter=text]").clear()
    driver.find_element("css selector", "[data-filter=text]").send_keys(" ")
    driver.execute_script(
        "const s = document.querySelector('[data-filter=status]');"
        "s.value = 'diverged'; s.dispatchEvent(new Event('change'))"
    )
    assert column(driver, "Status") == ["diverged"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_no_sideways_scroll_and_the_colours_of_the_system(opened: Open, scheme: str) -> None:
    driver = opened(width=390, scheme=scheme)
    assert driver.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(ground) == "rgb(247, 247, 245)"
    assert light == (scheme == "light")
    axis = "return getComputedStyle(document.querySelector('.xtitle')).fill"
    before = driver.execute_script(axis)
    for _ in range(2):  # automatic, light, dark
        driver.find_element("id", "theme").click()
    assert driver.execute_script(ground) == "rgb(16, 18, 21)"
    assert (driver.execute_script(axis) == before) == (scheme == "dark")
    driver.find_element("id", "theme").click()
    assert all(n >= 2 for n in driver.execute_script(MARKS))


def test_the_data_can_be_taken_away_as_csv(opened: Open, made: Path, tmp_path: Path) -> None:
    driver = opened()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    content = read_content(made)
    for kind, table in (("trials", content.results), ("curves", content.curves)):
        driver.find_element("css selector", f"[data-csv={kind}]").click()
        file = tmp_path / f"made-up-{kind}.csv"
        wait(file.exists)
        with file.open(newline="", encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
        texts = [name for name in table.column_names if name != "test_correct"]  # bytes
        assert list(rows[0]) == ACCURACY.headings(texts)
        for name in ("arm", "seed"):
            assert [row[name] for row in rows] == [str(value) for value in table[name].to_pylist()]
        assert [float(row["val_accuracy"] or "nan") for row in rows] == pytest.approx(
            [float("nan") if v is None else v for v in table["val_metric"].to_pylist()], nan_ok=True
        )


def test_a_large_sweep_is_usable(opened: Open, tmp_path: Path) -> None:
    arms = ("standard", "low_rank", "adaptive", "separable", "odconv")
    made_up_sweep(tmp_path, arms=arms, budgets=tuple(range(500, 5500, 500)), seeds=20, evaluations=10)
    (tmp_path / "index.html").write_text(page([read_content(tmp_path)]), encoding="utf-8")
    driver = opened(tmp_path / "index.html")
    assert "not the 998 trials one by one" in driver.find_element("css selector", ".sweep > .note:last-of-type").text
    assert len(column(driver, "Arm")) == 100
    driver.find_element("css selector", ".more").click()
    assert len(column(driver, "Arm")) == 600
    assert all(n >= 2 for n in driver.execute_script(MARKS))
    assert driver.get_log("browser") == []


def test_pictures_are_drawn_by_the_browser(made: Path, tmp_path: Path) -> None:
    from PIL import Image

    figures = main_figures(read_content(made))[:2]
    files = write_pictures(tmp_path, {figure.name: figure.drawing.plotly() for figure in figures})
    assert sorted(path.suffix for path in files) == [".png", ".png", ".svg", ".svg"]
    for path in files:
        if path.suffix == ".png":
            image = Image.open(path)
            assert image.width == 1800
            assert len(image.getcolors(2**24) or []) > 20
        else:
            text = path.read_text(encoding="utf-8")
            assert text.startswith("<svg")
            assert "window.hacked=1</script" not in text
