"""The page in Chromium: nothing overflows, breaks, complains or is fetched; viewer and tables work."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
]
FIRST = "document.querySelector('.viewer')"


class Browser:
    """One page in a headless Chromium, driven over its debugging pipe.

    It notes console messages, failures and every request.
    """

    def __init__(self, profile: Path) -> None:
        assert PROGRAM is not None
        to_browser, self._send = os.pipe()
        self._receive, from_browser = os.pipe()
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
        ]
        options += [
            "--disable-background-networking",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", PROGRAM, *options], pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._send)
        os.close(self._receive)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the DevTools protocol and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])
            self._note(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._receive, 1 << 20)
            if not part:
                raise RuntimeError("Chromium ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
        if event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(parameters["args"])[:500])
        if event.get("method") == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(parameters["entry"]))

    def show(self, page: Path, *, width: int = 1440, height: int = 900, theme: str = "light") -> None:
        """Open a file at a window size and a colour scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.requests.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression (promises are awaited)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:1000])
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 20.0) -> None:
        """Wait until a JavaScript condition holds."""
        end = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(condition)
            time.sleep(0.05)

    def picture(self, path: Path, *, clip: dict[str, float] | None = None) -> None:
        """Save a picture of the whole page, or of a part."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": True}
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        options["clip"] = {
            **(clip or {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}),
            "scale": 1,
        }
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def viewer(browser: Browser, example: Path) -> Browser:
    browser.show(example / "report.html")
    browser.evaluate(f"{FIRST}.scrollIntoView({{behavior: 'instant'}})")
    browser.wait_for(f"{FIRST}.dataset.ready === 'true'")
    return browser


def _readout(browser: Browser) -> str:
    return str(browser.evaluate(f"{FIRST}.querySelector('.readout').textContent"))


def _pixels(browser: Browser) -> str:
    return str(
        browser.evaluate(f"[...{FIRST}.querySelectorAll('canvas')].map(one => one.toDataURL()).join()")
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_overflows_breaks_or_complains(
    browser: Browser, example: Path, width: int, theme: str
) -> None:
    browser.complaints.clear()
    browser.show(example / "report.html", width=width, theme=theme)
    for index in range(int(browser.evaluate("document.querySelectorAll('.viewer').length"))):
        box = f"document.querySelectorAll('.viewer')[{index}]"
        browser.evaluate(f"{box}.scrollIntoView({{behavior: 'instant'}})")
        browser.wait_for(f"{box}.dataset.ready === 'true'")
    browser.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager'; })")
    browser.wait_for("[...document.images].every(one => one.complete)")
    assert browser.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.documentElement.dataset.theme") == theme
    assert browser.complaints == []


def test_the_page_asks_nobody_for_anything(tmp_path: Path, example: Path) -> None:
    shutil.copy(example / "report.html", tmp_path / "attachment.html")
    with Browser(tmp_path / "profile") as alone:
        alone.show(tmp_path / "attachment.html")
        alone.evaluate(f"{FIRST}.scrollIntoView({{behavior: 'instant'}})")
        alone.wait_for(f"{FIRST}.dataset.ready === 'true'")
        asked = [address for address in alone.requests if not address.startswith("data:")]
    assert asked == [(tmp_path / "attachment.html").as_uri()]


def test_the_viewer_starts_at_the_strongest_voxel_and_says_its_value(viewer: Browser) -> None:
    volume = json.loads(viewer.evaluate("document.querySelector('script[id^=volume]').textContent"))
    x, y, z = (f"{value:.1f}".replace("-", "−") for value in volume["strongest"])
    assert _readout(viewer).startswith(f"x = {x}, y = {y}, z = {z} mm: t = ")


def test_the_threshold_slider_changes_the_picture(viewer: Browser) -> None:
    before = _pixels(viewer)
    viewer.evaluate(
        f"(() => {{ const slider = {FIRST}.querySelector('.threshold'); slider.value = 90;"
        " slider.dispatchEvent(new Event('input')); })()"
    )
    viewer.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert _pixels(viewer) != before
    limit = float(
        viewer.evaluate("JSON.parse(document.querySelector('script[id^=volume]').textContent).limit")
    )
    shown = float(viewer.evaluate(f"{FIRST}.querySelector('.threshold-value').textContent"))
    assert shown == pytest.approx(0.9 * limit, abs=0.006)


def test_keys_and_clicks_move_the_cross(viewer: Browser) -> None:
    before = _readout(viewer)
    viewer.evaluate(f"{FIRST}.querySelector('.viewer-canvases').focus()")
    viewer.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", code="ArrowLeft")
    moved = _readout(viewer)
    assert moved != before
    area = viewer.evaluate(
        f"(() => {{ const a = {FIRST}.querySelector('canvas').getBoundingClientRect();"
        " return [a.x, a.y]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        viewer.call(
            "Input.dispatchMouseEvent", type=kind, x=area[0] + 20, y=area[1] + 20, button="left", clickCount=1
        )
    assert _readout(viewer) != moved
    assert "outside the analysis mask" in _readout(viewer)
    viewer.evaluate(f"{FIRST}.querySelector('.strongest').click()")
    assert _readout(viewer) == before


def test_a_peak_of_the_table_is_shown_with_the_value_of_the_table(viewer: Browser) -> None:
    row = "document.querySelector('article table.sortable button.goto').closest('tr')"
    cells = viewer.evaluate(f"[...{row}.cells].map(cell => cell.dataset.value)")
    heads = viewer.evaluate(f"[...{row}.closest('table').tHead.rows[0].cells].map(cell => cell.textContent)")
    values = dict(zip(heads, cells, strict=True))
    viewer.evaluate(f"{row}.querySelector('.goto').click()")
    viewer.wait_for(f"{FIRST}.querySelector('.readout').textContent.includes('significant')")
    shown = float(_readout(viewer).split("t = ")[1].split(",")[0].replace("−", "-"))
    assert shown == pytest.approx(float(values["t"]), abs=0.002)


def test_tables_sort_by_number_and_keep_what_is_missing_last(viewer: Browser) -> None:
    table = "document.querySelector('table[data-name$=\"desc-quality_table.tsv\"]')"
    column = "correlation with the others' mean"
    head = f"[...{table}.tHead.rows[0].cells].findIndex(cell => cell.textContent === `{column}`)"
    values = f"[...{table}.tBodies[0].rows].map(row => Number(row.cells[{head}].dataset.value))"
    click = f"{table}.tHead.rows[0].cells[{head}].querySelector('button').click()"
    viewer.evaluate(f"{table}.closest('details').open = true")
    viewer.evaluate(click)
    ascending = viewer.evaluate(values)
    assert ascending == sorted(ascending)
    viewer.evaluate(click)
    assert viewer.evaluate(values) == ascending[::-1]
    reasons = f"[...{table}.tHead.rows[0].cells].findIndex(cell => cell.textContent === 'why marked')"
    viewer.evaluate(f"{table}.tHead.rows[0].cells[{reasons}].querySelector('button').click()")
    texts = viewer.evaluate(f"[...{table}.tBodies[0].rows].map(row => row.cells[{reasons}].dataset.value)")
    assert texts[0] == "far off in n_cigs"
    assert set(texts[1:]) == {"n/a"}


def test_the_viewer_says_effect_and_g_beside_t(viewer: Browser, example: Path) -> None:
    stem = json.loads(viewer.evaluate(f"JSON.stringify({FIRST}.id)")).removeprefix("viewer-contrast-")
    x, y, z = json.loads(viewer.evaluate("document.querySelector('script[id^=volume]').textContent"))[
        "strongest"
    ]
    told = dict(re.findall(r"(t|effect|g) = (−?[0-9.]+)", _readout(viewer)))
    for stat, rel in (("t", 1e-3), ("effect", 6e-3), ("g", 6e-3)):
        image = nib.load(example / "group" / f"{stem}_stat-{stat}_statmap.nii.gz")
        voxel = np.rint(np.linalg.inv(image.affine) @ [x, y, z, 1])[:3].astype(int)
        expected = float(image.get_fdata()[tuple(voxel)])
        assert float(told[stat].replace("−", "-")) == pytest.approx(expected, rel=rel)


def test_the_viewer_has_a_scale_of_its_colours(viewer: Browser) -> None:
    """A row of pixels through the bar: the colours of the ends are those of the palette."""
    row = json.loads(
        viewer.evaluate(f"""(() => {{ const one = {FIRST}.querySelector('.colours');
        return JSON.stringify([...one.getContext('2d').getImageData(0, 8, one.width, 1).data]); }})()""")
    )
    pixels = [tuple(row[at : at + 3]) for at in range(0, len(row), 4) if row[at + 3]]
    palette = json.loads(viewer.evaluate("document.getElementById('palette').textContent"))
    ends = [tuple(int(one[k : k + 2], 16) for k in (1, 3, 5)) for one in (palette[0], palette[-1])]
    assert np.abs(np.subtract([pixels[0], pixels[-1]], ends)).max() < 12


def test_printing_opens_what_is_collapsed(browser: Browser, example: Path) -> None:
    browser.show(example / "report.html")
    closed = "document.querySelectorAll('details:not([open])').length"
    before = browser.evaluate(closed)
    assert before > 5
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate(closed) == 0
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate(closed) == before


def test_cluster_tables_need_no_scrolling_at_1440(browser: Browser, example: Path) -> None:
    browser.show(example / "report.html")
    boxes = "[...document.querySelectorAll('details > .table-box')].filter(one => one.querySelector('.goto'))"
    widths = browser.evaluate(
        f"{boxes}.filter(one => one.parentElement.open).map(one => [one.scrollWidth, one.clientWidth])"
    )
    assert len(widths) >= 2
    assert all(inner <= outer <= 1100 for inner, outer in widths)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_design_is_orange_above_zero_and_purple_below_on_any_ground(
    browser: Browser, example: Path, tmp_path: Path, theme: str
) -> None:
    browser.show(example / "report.html", theme=theme)
    image = "document.querySelector('img[alt^=\"Design matrix\"]')"
    browser.evaluate(f"{image}.loading = 'eager'")
    browser.wait_for(f"{image}.complete")
    area = json.loads(
        browser.evaluate(f"""(() => {{ const one = {image}.getBoundingClientRect();
        return JSON.stringify({{x: one.x, y: one.y + scrollY, width: one.width,
            height: one.height}}); }})()""")
    )
    browser.picture(tmp_path / "design.png", clip=area)
    pixels = np.asarray(Image.open(tmp_path / "design.png").convert("RGB"), dtype=int)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    is_orange, is_purple = (red - blue > 60), (blue - green > 25) & (red - green > 10)
    assert is_orange.mean() > 0.05
    assert is_purple.mean() > 0.01
    assert (abs(pixels.mean(axis=-1) - (253 if theme == "light" else 20)) < 15).mean() > 0.2  # the ground


def test_the_theme_can_be_changed(browser: Browser, example: Path) -> None:
    browser.show(example / "report.html", theme="light")
    light = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    browser.evaluate("document.getElementById('theme').click()")
    assert browser.evaluate("document.documentElement.dataset.theme") == "dark"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") != light
    browser.evaluate("document.getElementById('theme').click()")
    browser.evaluate("localStorage.clear()")


def test_text_stands_out_from_its_ground(browser: Browser, example: Path) -> None:
    """Contrast of at least 4.5 : 1 (WCAG 2 AA) for ink and quiet text in both themes."""
    luminance = """(colour) => { const [r, g, b] = colour.match(/[0-9.]+/g).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        ; return 0.2126 * r + 0.7152 * g + 0.0722 * b; }"""
    for theme in ("light", "dark"):
        browser.show(example / "report.html", theme=theme)
        for selector in (
            "h2",
            "figcaption",
            ".words",
            ".answers .found",
            ".notices .warning",
            ".main-answer",
        ):
            ratio = browser.evaluate(f"""(() => {{ const light = {luminance};
                const node = document.querySelector({selector!r}); let ground = node;
                const back = (one) => getComputedStyle(one).backgroundColor;
                while (back(ground) === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
                const [a, b] = [light(getComputedStyle(node).color), light(back(ground))];
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }})()""")
            assert ratio >= 4.5, (theme, selector, ratio)
