"""The page as people use it: a real server, a real browser, and watchers over both."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from skimage import data

from zcolor.colorizer import Colorizer

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
PATIENCE = 120.0  # seconds: a busy machine is no failure

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None,
    reason="chromium and chromedriver are not installed (apt-get install chromium-driver)",
)

# Serves, and tells what Python connects to, looks up, and writes.
SERVER = """
import logging, os, sys
told = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        os.write(told, f"host\\t{arguments[1]}\\n".encode())
    elif event == "socket.getaddrinfo":
        os.write(told, f"host\\t{arguments[0]}\\n".encode())
    elif event == "open" and isinstance(arguments[0], str):
        flags = arguments[2] or 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(told, f"file\\t{os.path.abspath(arguments[0])}\\n".encode())
sys.addaudithook(watch)
logging.basicConfig(level=logging.WARNING)
logging.getLogger("zcolor").setLevel(logging.INFO)
from zcolor.apps.web import WebLimits, serve
serve(port=0, model=sys.argv[1], device="cpu", limits=WebLimits(max_upload_mb=2))
"""


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory):
    """Give the address of a server, its temporary folder, and the file of what it did."""
    folder = tmp_path_factory.mktemp("server")
    told, temporary, home = folder / "told", folder / "tmp", folder / "home"
    temporary.mkdir()
    home.mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(temporary),
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(weights), str(told)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for line in process.stderr:
                if found := re.search(r"zcolor is at (http://127\.0\.0\.1:\d+) ", line):
                    break
            else:
                pytest.fail("the server ended at once")
            yield found.group(1), temporary, told
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=PATIENCE)[1]
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in said
    assert list(temporary.iterdir()) == []  # nothing is left behind


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    driver.set_page_load_timeout(PATIENCE)
    yield driver, downloads
    driver.quit()


class Page:
    """What a visitor sees and does."""

    def __init__(self, driver, downloads):
        from selenium.webdriver.support.ui import WebDriverWait

        self.driver, self.downloads = driver, downloads
        self.wait = WebDriverWait(driver, PATIENCE, poll_frequency=0.1)

    def find(self, selector):
        found = self.driver.find_elements("css selector", selector)
        return found[0] if found else None

    def until(self, condition, what):
        return self.wait.until(lambda _: condition(), what)

    def appears(self, selector):
        return self.until(lambda: self.find(selector), f"{selector} did not appear")

    def drop(self, *paths):
        self.appears("#zc-drop input[type=file]").send_keys("\n".join(map(str, paths)))

    def after(self):
        """Give the address of the coloured picture, once there is one."""
        read = "return document.querySelector('#zc-compare img.fixed')?.src"
        return self.until(lambda: self.driver.execute_script(read), "no coloured picture")

    def another(self, before):
        self.until(lambda: self.after() != before, "the picture did not change")
        return self.after()

    def shot(self, address):
        answer = httpx.get(address, timeout=PATIENCE)
        path = self.downloads / "shown.jpg"
        path.write_bytes(answer.raise_for_status().content)
        with Image.open(path) as image:
            pixels = np.asarray(image).astype(int)
        path.unlink()
        return pixels


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("album") / "grandmother 1950.jpg"
    exif = Image.Exif()
    exif[0x010E] = "on the lawn"
    Image.fromarray(data.camera()).resize((240, 180)).save(path, exif=exif)
    return path


def chroma(pixels):
    return np.ptp(pixels, axis=2).mean()


def test_a_visit(server, browser, photo, weights):
    """Upload, see colour, move controls, ask a point, add photos, download."""
    from selenium.webdriver.common.keys import Keys

    (address, temporary, told), (driver, downloads) = server, browser
    driver.get(address)
    page = Page(driver, downloads)
    page.drop(photo)
    first = page.after()
    colored = page.shot(first)
    assert colored.shape == (180, 240, 3)
    assert chroma(colored) > 10

    page.appears("#zc-temperature input[type=range]").send_keys(Keys.HOME)
    second = page.another(first)
    assert np.abs(page.shot(second) - colored).mean() > 1
    page.find("#zc-saturation input[type=range]").send_keys(Keys.HOME)
    third = page.another(second)
    assert chroma(page.shot(third)) < 3  # no saturation: grey, but for JPEG's rounding
    page.find("#zc-saturation input[type=range]").send_keys(Keys.END)
    fourth = page.another(third)
    assert chroma(page.shot(fourth)) > chroma(page.shot(second))

    tabs = driver.find_elements("css selector", "#zc-views button[role=tab]")
    tabs[1].click()
    page.until(lambda: page.find("#zc-point img").is_displayed(), "no picture to click")
    plain = page.find("#zc-point img").get_attribute("src")
    look = "document.querySelector('#zc-point img').scrollIntoView({block: 'center'})"
    driver.execute_script(look)  # all of it, as the click goes to the middle of what is seen
    page.find("#zc-point img").click()
    page.appears("#zc-palette .zc-swatch")
    page.until(lambda: page.find("#zc-point img").get_attribute("src") != plain, "no mark")
    marked = page.shot(page.find("#zc-point img").get_attribute("src"))
    ring = np.argwhere(np.abs(marked - page.shot(plain)).max(axis=2) > 60)
    assert ring.mean(axis=0) == pytest.approx([90, 120], abs=5)
    assert re.search(r"\d%", page.find("#zc-palette").text)
    tabs[2].click()
    page.until(lambda: page.find("#zc-sure img").is_displayed(), "no confidence map")
    tabs[0].click()

    page.find("#zc-save").click()
    target = downloads / "grandmother 1950-color.jpg"
    page.until(target.is_file, f"no {target.name} among {list(downloads.iterdir())}")
    colorizer = Colorizer(weights, device="cpu")
    usual = colorizer(photo.read_bytes(), temperature=0.0, saturation=2.0)
    assert target.read_bytes() == usual
    with Image.open(target) as image:
        assert image.getexif()[0x010E] == "on the lawn"

    bad = photo.with_name("notes.jpg")
    bad.write_text("no picture")
    other = photo.with_name("cat.png")
    Image.fromarray(data.chelsea()).resize((90, 60)).save(other)
    page.drop(bad, other)
    page.another(fourth)
    assert "notes.jpg: the file is no image that can be read" in page.appears(".zc-note").text
    page.appears("#zc-gallery img")
    page.find("#zc-save-all").click()
    target = downloads / "zcolor-photos.zip"
    page.until(target.is_file, "no archive")

    check_requests(driver, address)
    check_server(address, temporary, told)


def check_requests(driver, address):
    """No request of the page goes anywhere else, and nothing fails in it."""
    hosts = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            parameters = message["params"]
            url = urlsplit(parameters.get("request", parameters)["url"])
            hosts |= {url.netloc} - {""}  # data: and blob: have none
    assert hosts == {urlsplit(address).netloc}
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []


def check_server(address, temporary, told):
    """The server speaks to nobody, and writes in one private folder only."""
    lines = [line.split("\t", 1) for line in told.read_text().splitlines()]
    hosts = {name for kind, name in lines if kind == "host"}
    assert [name for name in hosts if "127.0.0.1" not in name and "localhost" not in name] == []
    (private,) = temporary.iterdir()
    assert private.stat().st_mode & 0o077 == 0
    outside = {
        name
        for kind, name in lines
        if kind == "file" and not Path(name).is_relative_to(temporary) and name != os.devnull
    }
    assert outside == set()
    assert any(path.is_file() for path in private.rglob("*"))
