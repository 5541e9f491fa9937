"""Draws the pictures of README and docs from a played demo: `make pictures`.

Needs Debian's chromium and graphviz.

The demo is played for real; its console, its first slip and two pages of its office become
docs/images/*.png; the cashier's page is drawn by screens.py. Pages are fetched by a logged-in session and
shown to the browser from files.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import requests
from PIL import Image
from rich.console import Console

from agent.demo.play import Shift
from agent.demo.stage import PASSWORD
from scripts import drawings, screens

IMAGES = Path("docs/images").resolve()
PICTURES = Path("demo-out")
CONSOLE_COLUMNS = 92
DEMO_PIXELS_MAX = 1500  # the picture shows the beginning


def main() -> None:
    """Play, then draw."""
    drawings.main()
    screens.main()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        console = Console(record=True, width=CONSOLE_COLUMNS, file=io.StringIO(), highlight=False)
        os.chdir(directory)
        PICTURES.mkdir()
        shift = Shift(directory, PICTURES, console, "ru")
        try:
            shift.play()
            pages = Pages(shift.office_url, directory)
            pages.draw("/", "office-front.png")
            pages.draw("/tills/", "office-tills.png")
            pages.draw(f"/accounts/{shift.account()}/", "office-account.png")
        finally:
            shift.close()
        shutil.copy(PICTURES / "slip-1.png", IMAGES / "slip.png")
        svg = directory / "demo.svg"
        text = console.export_svg(title="make demo")
        # The fonts that rich would fetch from the net are replaced by this machine's.
        text = re.sub(r"@font-face \{.*?\}", "", text, flags=re.DOTALL)
        svg.write_text(text.replace("Fira Code", "DejaVu Sans Mono"), encoding="utf-8")
        size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
        assert size is not None
        width, height = int(float(size[1])), int(float(size[2]))
        browse(svg.as_uri(), IMAGES / "demo.png", width, height)
        with Image.open(IMAGES / "demo.png") as whole:
            whole.crop((0, 0, width, min(height, DEMO_PIXELS_MAX))).save(IMAGES / "demo.png", optimize=True)
        os.chdir(IMAGES)  # the temporary directory goes now


class Pages:
    """The office's pages as its administrator sees them."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory
        self._http = requests.Session()
        form = self._http.get(f"{url}/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token is not None
        fields = {"csrfmiddlewaretoken": token[1], "username": "admin", "password": PASSWORD}
        self._http.post(f"{url}/login/", fields, headers={"Referer": f"{url}/login/"}).raise_for_status()

    def draw(self, path: str, picture: str) -> None:
        """One page as a picture."""
        answer = self._http.get(self._url + path)
        answer.raise_for_status()
        page = self._directory / "page.html"
        page.write_text(answer.text.replace("<head>", f'<head><base href="{self._url}/">'), encoding="utf-8")
        browse(page.as_uri(), IMAGES / picture, 1280, 900)


def browse(url: str, picture: Path, width: int, height: int) -> None:
    """A screenshot by headless Chromium."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}",
             f"--window-size={width},{height}", f"--screenshot={picture}", url],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


if __name__ == "__main__":
    main()
