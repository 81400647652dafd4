"""Renew the pictures of the documentation: the dashboard as it shows the newest study in TUNER_HOME (`make demo` makes one)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tuner.settings import Settings

IMAGES = Path(__file__).with_name("images")
CHROMIUM = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))


def main() -> None:
    settings = Settings()
    service = subprocess.Popen([sys.executable, "-m", "tuner", "serve", "--port", "0"])
    try:
        while not settings.service_file.exists():
            time.sleep(0.1)
        url = json.loads(settings.service_file.read_text())["url"]
        token = settings.local_token_file.read_text().strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 1000}, device_scale_factor=1.5)
            page.goto(f"{url}/login?token={token}")
            take(page, "studies")
            page.get_by_role("table").get_by_role("link").first.click()
            take(page, "study")
            browser.close()
    finally:
        service.terminate()
        service.wait()


def take(page: Page, name: str) -> None:
    """A picture of the window once every figure in it is drawn."""
    page.wait_for_load_state("load")
    for panel in page.locator("[data-figure]").all()[:4]:
        panel.locator(".main-svg").first.wait_for()
    page.wait_for_timeout(1000)
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
