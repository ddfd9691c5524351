"""The report as a browser shows it."""

from pathlib import Path

import pytest

from scaler.backtest import Judged, write

CHROMIUM = Path("/usr/bin/chromium")


def test_the_report_opens_by_itself_without_errors_or_requests(judged: Judged, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}: apt-get install chromium")
    write(judged, tmp_path)
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        url = (tmp_path / "report.html").as_uri()
        page.goto(url)
        page.wait_for_selector(".js-plotly-plot .main-svg")
        plots = page.locator(".js-plotly-plot")
        assert plots.count() == 5
        assert all(plots.nth(at).bounding_box()["height"] > 200 for at in range(5))
        assert page.locator(".js-plotly-plot path.js-line").count() > 10
        assert page.locator(".verdict strong").inner_text() == judged.result["verdict"]["sentence"]
        assert page.locator("table").count() == 2
        browser.close()
    assert said == []
    assert asked == [url]
