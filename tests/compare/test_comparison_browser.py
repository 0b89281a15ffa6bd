"""The page of a comparison in Chromium: nothing overflows, complains or is fetched."""

import shutil

import pytest

from bids_group.compare import compare_outputs
from tests.output.report.test_report_browser import PROGRAM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine"),
]


def test_the_page_fits_and_asks_nobody_for_anything(out_rows, out_mean, pictures, tmp_path):
    page = compare_outputs(out_rows, out_mean, tmp_path / "made", ["facesVsHousesChange=facesVsHouses"])
    alone = shutil.copy(page, tmp_path / "attachment.html")
    with Browser(tmp_path / "profile") as browser:
        for width, theme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
            browser.show(alone, width=width, theme=theme)
            browser.evaluate("document.querySelectorAll('img').forEach(one => { one.loading = 'eager'; })")
            browser.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
            browser.wait_for("[...document.images].every(one => one.complete)")
            assert browser.evaluate("document.images.length") > 8
            assert browser.evaluate("[...document.images].filter(one => !one.naturalWidth).length") == 0
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate("document.documentElement.dataset.theme") == theme
            assert [one for one in browser.requests if not one.startswith("data:")] == [alone.as_uri()]
        browser.evaluate("document.querySelector('#numbers th:nth-child(2) button').click()")
        assert browser.evaluate("document.querySelector('#numbers th:nth-child(2)').ariaSort") == "ascending"
        assert browser.complaints == []
