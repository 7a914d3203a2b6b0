"""The status page in a browser, before the demo's service: what an operator sees and does."""

from __future__ import annotations

import time

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.ops.browser import Browser
from tests.waiting import crowd, until
from zmtwist.config.endpoints import client_address
from zmtwist.config.settings import settle
from zmtwist.config.toml import load
from zmtwist.demo import prepare
from zmtwist.service import ZmNext

PLAYS = """
const video = document.querySelector("video");
return Boolean(video && !video.hidden && !video.error && video.readyState > 2 && video.videoWidth > 0 && video.currentTime > arguments[0]);
"""
STATE = "return document.querySelector('.title .state')?.textContent === arguments[0]"
ENABLED = "return document.querySelector(arguments[0])?.disabled === false"
FITS = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
AS_MP4 = """
const video = Object.assign(document.createElement("video"), { muted: true, className: "other" });
document.body.append(video);
const part = document.querySelector("script[type=module]").src.replace("page.js", "service.js");
import(part).then((it) => it.showRecording(video, `/api/events/${arguments[0]}/clip.mp4`, AbortSignal.timeout(20000)))
  .catch((error) => { window.failed = String(error); });
"""
LIVE = ".tools button.main"


def operate(browser: Browser, url: str, token: str) -> list[float]:
    """All that is tried. Gives how long it took each time until live view played, in seconds."""
    browser.open(url)
    browser.write("#token", "not the token")
    browser.click("#door button")
    browser.until("return document.querySelector('#denied').textContent !== ''")
    assert all("401" in complaint for complaint in browser.complaints())
    browser.write("#token", token)
    browser.click("#door button")
    names = "return [...document.querySelectorAll('li[data-monitor] .state.LIVE')].length === 2"
    browser.until(names)
    assert browser.run("return [...document.querySelectorAll('li .name > span')].map((e) => e.textContent)") == [
        "Front door",
        "Garden",
    ]
    # An event appears, and ends, without the page being loaded again.
    browser.run("window.same = true")
    browser.until("return document.querySelector('#feed [data-happening=event_opened]')")
    browser.until("return document.querySelector('#feed [data-happening=event_closed] a[href=\"#/monitors/2\"]')")
    fits(browser)

    browser.click("li[data-monitor='2'] a")
    browser.until(ENABLED, "button.event:enabled")
    fits(browser)
    browser.click("button.event:enabled")
    browser.until(PLAYS, 0.2)
    # As a browser sees it that does not know Matroska.
    browser.run(AS_MP4, browser.run("return document.querySelector('button.event[aria-pressed=true]').dataset.event"))
    browser.until("return window.failed ?? document.querySelector('.other').currentTime > 0.2")
    assert browser.run("document.querySelector('.other').remove(); return window.failed ?? null") is None
    begun = browser.run("return document.querySelector('video').currentTime")
    browser.until(PLAYS, begun + 0.2)

    took = []
    for _ in range(2):
        browser.until(ENABLED, LIVE)
        began = time.monotonic()
        browser.click(LIVE)
        browser.until(PLAYS, 0)
        at = browser.run("return document.querySelector('video').currentTime")
        took.append(time.monotonic() - began)
        browser.until(PLAYS, at)
        browser.click(LIVE)

    for order, state in (("stop", "HELD"), ("start", "LIVE")):
        button = f"button[data-order={order}]"
        browser.until(ENABLED, button)
        browser.click(button)
        if order == "stop":
            assert browser.text(button) == "Sure?"
            browser.click(button)
        browser.until(STATE, state)
    assert browser.run("return window.same") is True
    assert token not in browser.run("return document.documentElement.outerHTML + location.href + document.cookie")
    assert browser.complaints() == []
    return took


def fits(browser: Browser) -> None:
    """Nothing is cut off in a phone's width; dark and light are two things."""
    grounds = set()
    for scheme in ("dark", "light"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.devtools("Emulation.setEmulatedMedia", features=features)
        grounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    browser.phone()
    assert browser.run(FITS)
    browser.devtools("Emulation.clearDeviceMetricsOverride")
    assert browser.run(FITS)


@pytest_twisted.ensureDeferred
async def test_an_operator_at_the_page(tmp_path, monkeypatch):
    monkeypatch.setenv("ZM_CORE_SIM", "first=2.5,present=0.5,period=4")
    settings = settle(load(prepare(tmp_path / "demo")), {})
    starting = deferToThread(Browser.start)
    service = ZmNext(reactor, settings)
    service.startService()
    browser = None
    try:
        browser = await starting
        token_file = tmp_path / "demo" / "state" / "api.token"
        await until(token_file.exists)
        await until(lambda: service.fleet is not None)
        url = f"{client_address(settings.config.api.web)}/"
        took = await deferToThread(operate, browser, url, token_file.read_text().strip())
        assert min(took) < 2 * crowd()
        await until(lambda: service.api.api.gallery.live.links == 0)
    finally:
        if browser is not None:
            await deferToThread(browser.close)
        await service.stopService()
