"""A real Chromium, driven by Selenium: files in windows, media and modes that are wanted."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

INSTALL = "apt install chromium chromium-driver"
WIDE, NARROW = 1400, 400


def why_none() -> str:
    """Why there is no browser here; empty where there is one."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {', no '.join(missing)} here: {INSTALL}" if missing else ""


class Browser:
    """One window; ``console`` tells what was said there since it was asked last."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self,
        path: Path,
        *,
        width: int = WIDE,
        height: int = 900,
        dark: bool = False,
        media: str = "screen",
        scripts: bool = True,
    ) -> None:
        """Show a file."""
        self.console()
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.tell("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.tell("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.driver.get(path.absolute().as_uri())

    def tell(self, method: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(method, parameters)

    def console(self) -> list[str]:
        """What went wrong in the page, scripts and security policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def ask(self, expression: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen, as a PNG; ``whole``: the page to its end."""
        found = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                          **({"clip": self._whole()} if whole else {}))  # fmt: skip
        path.write_bytes(base64.b64decode(found["data"]))

    def _whole(self) -> dict[str, float]:
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69}
        return base64.b64decode(self.tell("Page.printToPDF", printBackground=True, **size)["data"])


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, and WebGL without a graphics card."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    with tempfile.TemporaryDirectory(prefix="dpam-hpc-browser-") as profile:
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
