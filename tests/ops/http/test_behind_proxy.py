"""The page and the API behind Debian's own web servers, with TLS and under a path, as the guide says it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import ssl
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.ops.browser import Browser
from tests.ops.served import free_port
from tests.ops.test_page import ENABLED, LIVE, PLAYS, STATE
from tests.waiting import Deadline, until
from zmtwist.config.endpoints import client_address
from zmtwist.config.settings import settle
from zmtwist.config.toml import load
from zmtwist.demo import prepare
from zmtwist.service import ZmNext

GUIDE = Path(__file__).parents[3] / "doc/guide/proxy.md"
MODULES = "authz_core alias headers mpm_event proxy proxy_http ssl"

NGINX = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
{example}
    }}
}}
"""

APACHE = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
ErrorLog /dev/stderr
{modules}
Mutex file:{directory}
User {user}
Group {group}
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    SSLCertificateFile {directory}/certificate.pem
    SSLCertificateKeyFile {directory}/key.pem
{example}
</VirtualHost>
"""


def example(server: str) -> str:
    """The last lines of configuration under this heading of the guide."""
    section = GUIDE.read_text().split(f"## {server}\n")[1].split("\n## ")[0]
    return re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)[-1]


@attrs.frozen
class Proxy:
    """A web server before `behind`, a port."""

    directory: Path
    server: str
    behind: int
    port: int = attrs.field(factory=free_port)

    def command(self) -> list[str]:
        text = textwrap.dedent(example("Apache" if self.server == "Apache" else "nginx"))
        assert text.count("127.0.0.1:8095") == 1
        text = text.replace("127.0.0.1:8095", f"127.0.0.1:{self.behind}")
        if self.server == "nginx, path taken away":
            text = text.replace(f"127.0.0.1:{self.behind};", f"127.0.0.1:{self.behind}/;")
        config = self.directory / "config"
        config.parent.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", self.directory / "key.pem", "-out", self.directory / "certificate.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        path = "/usr/sbin:/usr/bin"
        if self.server == "Apache":
            modules = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in MODULES.split())
            config.write_text(
                APACHE.format(
                    directory=self.directory,
                    port=self.port,
                    modules=modules,
                    example=text,
                    user="nobody",
                    group="nogroup",
                )
            )
            return [shutil.which("apache2", path=path) or "apache2", "-f", str(config), "-DFOREGROUND"]
        config.write_text(NGINX.format(directory=self.directory, port=self.port, example=text))
        return [shutil.which("nginx", path=path) or "nginx", "-p", str(self.directory), "-c", str(config)]

    def start(self) -> subprocess.Popen[bytes]:
        """The server's process, once it answers."""
        process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stderr=(self.directory / "log").open("wb"), start_new_session=True
        )
        deadline = Deadline(30)
        while True:
            try:
                self.ask("GET", "/")
                return process
            except OSError:
                log = (self.directory / "log").read_text()
                assert process.poll() is None and not deadline.over, log
                time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, token: str = "", **headers: str) -> tuple[int, bytes]:
        answer = self.open(method, path, token, **headers)
        return answer.status, answer.read()

    def open(self, method: str, path: str, token: str = "", **headers: str) -> http.client.HTTPResponse:
        """An answer of which nothing was read yet."""
        context = ssl.create_default_context(cafile=str(self.directory / "certificate.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Authorization": f"Bearer {token}", **named})
        return connection.getresponse()


def entries(stream: http.client.HTTPResponse) -> Iterator[tuple[str, dict[str, object]]]:
    """What a stream of events tells, each as it comes."""
    name = ""
    for line in stream:
        field, _, value = line.decode().strip().partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def operate(proxy: Proxy, token: str) -> None:
    """What scripts and dashboards do."""
    assert proxy.ask("GET", "/zmnext/api/status")[0] == 401
    assert proxy.ask("GET", "/zmnext/api/status", token)[0] == 200
    assert proxy.open("GET", "/zmnext").getheader("location").endswith("/zmnext/")
    stream = proxy.open("GET", "/zmnext/api/stream?monitor=1", token)
    # A camera's restart, ordered by the page, and what is told of it while it happens.
    assert proxy.ask("POST", "/zmnext/api/monitors/1/restart", token, Origin=proxy.url)[0] == 200
    told = entries(stream)
    assert next(data["to"] for name, data in told if name == "transition") == "STOPPING"
    for hostile in (
        {"Origin": "https://evil.example"},
        {"Origin": "https://evil.example", "X_Forwarded_Host": "evil.example"},
        {"Origin": f"http://127.0.0.1:{proxy.port}", "X_Forwarded_Proto": "http"},
        {"Origin": proxy.url, "Host": "evil.example"},
    ):
        status, body = proxy.ask("POST", "/zmnext/api/monitors/1/restart", token, **hostile)
        assert status == 403, (hostile, body)


def click(browser: Browser, proxy: Proxy, token: str) -> None:
    """What an operator does in a browser."""
    browser.open(f"{proxy.url}/zmnext")
    browser.write("#token", token)
    browser.click("#door button")
    assert browser.run("return location.pathname") == "/zmnext/"
    browser.until("return [...document.querySelectorAll('li[data-monitor] .state.LIVE')].length === 2")
    # As it happens, without the page being loaded again.
    browser.until("return document.querySelector('#feed [data-happening=event_opened]')")
    browser.click("li[data-monitor='2'] a")
    browser.until(ENABLED, "button.event:enabled")
    browser.click("button.event:enabled")
    browser.until(PLAYS, 0.2)
    browser.until(ENABLED, LIVE)
    browser.click(LIVE)
    browser.until(PLAYS, 0)
    browser.click(LIVE)
    pid = "return fetch('api/monitors/2', {headers: {Authorization: `Bearer ${arguments[0]}`}}).then((a) => a.json()).then((m) => m.pid)"
    before = browser.run(pid, token)
    restart = "button[data-order=restart]"
    browser.until(ENABLED, restart)
    browser.click(restart)
    if browser.text(restart) == "Sure?":
        browser.click(restart)
    browser.until(f"{pid.replace('m.pid', 'm.pid !== null && m.pid !== arguments[1]')}", token, before)
    browser.until(STATE, "LIVE")
    assert browser.complaints() == []


@pytest.mark.parametrize("server", ["nginx", "nginx, path taken away", "Apache"])
@pytest_twisted.ensureDeferred
async def test_an_operator_behind_a_proxy(tmp_path, monkeypatch, server):
    monkeypatch.setenv("ZM_CORE_SIM", "first=2.5,present=0.5,period=4")
    config = prepare(tmp_path / "demo")
    proxied = '[api]\nbase_path = "/zmnext"\ntrusted_proxies = ["127.0.0.1"]'
    config.write_text(config.read_text().replace("[api]", proxied))
    settings = settle(load(config), {})
    service, browser, process = ZmNext(reactor, settings), None, None
    service.startService()
    try:
        token_file = tmp_path / "demo" / "state" / "api.token"
        await until(token_file.exists)
        await until(lambda: service.fleet is not None and len(service.fleet.status()) == 2)
        token = token_file.read_text().strip()
        proxy = Proxy(tmp_path / "proxy", server, client_address(settings.config.api.web).port)
        process = await deferToThread(proxy.start)
        await deferToThread(operate, proxy, token)
        if server == "nginx":
            browser = await deferToThread(Browser.start, insecure=True)
            await deferToThread(click, browser, proxy, token)
    finally:
        if browser is not None:
            await deferToThread(browser.close)
        if process is not None:
            process.terminate()
            await deferToThread(process.wait, 20)
        await service.stopService()
