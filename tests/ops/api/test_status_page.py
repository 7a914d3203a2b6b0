from __future__ import annotations

import re

import pytest_twisted

from tests.ops.served import Served, ask
from zmtwist.ops.api.status_page import DIRECTORY, Pages


@pytest_twisted.ensureDeferred
async def test_the_page_comes_without_the_token_and_without_data(tmp_path):
    served = await Served.on(tmp_path, web=True)
    try:
        page = await ask(served.tcp, "/")
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "*" not in policy
        again = await ask(served.tcp, "/", If_None_Match=page.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        # Relative ones: a proxy may have the page under a path of its own.
        linked = [f"/{path}" for path in re.findall(r'(?:src|href)="(page/[^"]+)"', page.body.decode())]
        assert len(linked) == 3
        for path in linked:
            part = await ask(served.tcp, path)
            assert (part.status, part.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
            assert part.headers["x-content-type-options"] == "nosniff"
        old = re.sub(r"/page/\w+/", "/page/0123456789abcdef/", linked[0])
        assert (await ask(served.tcp, old)).status == 401
        assert (await ask(served.tcp, old, **served.bearer)).code == "not_found"
        for path in ("/page/", linked[0] + "x", linked[0].replace("/page/", "/page/../page/"), "/index.html"):
            assert (await ask(served.tcp, path)).status == 401, path
        assert (await ask(served.tcp, "/", "POST")).status == 401
        assert (await ask(served.tcp, "/", Host="evil.example")).code == "wrong_host"
        assert (await ask(served.path, "/")).body == page.body
    finally:
        await served.service.stopService()


def test_nothing_comes_from_elsewhere_and_nothing_is_markup():
    text = "".join(path.read_text() for path in DIRECTORY.iterdir())
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|style=|<style|onclick=\"", text
    )


def test_whatever_the_page_asks_for_is_below_where_it_is():
    for path in DIRECTORY.iterdir():
        assert not re.search(r"[\"'`(=]\s*/(api|page|metrics)\b", path.read_text()), path


def test_another_content_has_another_place(tmp_path):
    for name, content in (("index.html", "<a href=/page/{digest}/x.js>"), ("x.js", "1")):
        (tmp_path / name).write_text(content)
    (tmp_path / "notes.txt").write_text("left out")
    first = Pages.read(tmp_path)
    assert first.paths == {"/", f"/page/{first.digest}/x.js"}
    assert first.digest.encode() in first.files["index.html"]
    (tmp_path / "x.js").write_text("2")
    assert Pages.read(tmp_path).digest != first.digest
