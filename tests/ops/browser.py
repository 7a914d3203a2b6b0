"""A headless Chromium, driven by WebDriver in a few lines of our own. Blocks: call it in threads."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import attrs

from tests.waiting import wait_for

DRIVER = "chromedriver"
BROWSER = "chromium"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Missing(Exception):
    """What the page has not."""


@attrs.define
class Browser:
    """One window. `directory` is where all that a browser leaves goes, until it is closed."""

    directory: Path
    process: subprocess.Popen[str]
    port: int
    session: str

    @classmethod
    def start(cls, *, size: tuple[int, int] = (1280, 900), insecure: bool = False) -> Browser:
        """A new one; `insecure` takes any certificate."""
        directory = Path(tempfile.mkdtemp(prefix="zmtwist-"))  # short: there will be sockets in it
        environment = {**os.environ, "HOME": str(directory), "TMPDIR": str(directory)}
        process = subprocess.Popen(
            [shutil.which(DRIVER) or DRIVER, "--port=0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, start_new_session=True,
        )  # fmt: skip
        for line in process.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                break
        else:
            raise RuntimeError(f"{DRIVER} has not begun to listen")
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-extensions", "--mute-audio",
            f"--user-data-dir={directory}/profile", f"--window-size={size[0]},{size[1]}",
        ]  # fmt: skip
        options: dict[str, Any] = {"binary": shutil.which(BROWSER), "args": arguments}
        wanted = {
            "browserName": "chrome",
            "acceptInsecureCerts": insecure,
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = cls(directory, process, int(found[1]), "")
        try:
            made.session = made.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            made.close()
            raise
        return made

    def call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            kind = Missing if answer["error"] in ("no such element", "stale element reference") else RuntimeError
            raise kind(f"{answer['error']}: {answer['message']}")
        return answer

    def do(self, path: str, **body: Any) -> Any:
        return self.call("POST", f"/session/{self.session}/{path}", body)

    def devtools(self, name: str, **parameters: Any) -> Any:
        return self.do("goog/cdp/execute", cmd=name, params=parameters)

    def phone(self, width: int = 390, height: int = 844) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=True
        )

    def open(self, url: str) -> None:
        self.do("url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        return self.do("execute/sync", script=script, args=list(args))

    def find(self, selector: str) -> str:
        return self.do("element", using="css selector", value=selector)[ELEMENT]

    def click(self, selector: str) -> None:
        self.do(f"element/{self.find(selector)}/click")

    def write(self, selector: str, text: str) -> None:
        self.do(f"element/{self.find(selector)}/value", text=text)

    def text(self, selector: str) -> str:
        return self.call("GET", f"/session/{self.session}/element/{self.find(selector)}/text")

    def until(self, script: str, *args: Any) -> Any:
        """Wait until what `script` returns is true; its value."""
        return wait_for(lambda: self.run(script, *args), f"{script} {args}")

    def complaints(self) -> list[str]:
        """What the console has shown since the last call: errors and warnings."""
        told = self.do("se/log", type="browser")
        return [entry["message"] for entry in told if entry["level"] in ("SEVERE", "WARNING")]

    def shoot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("GET", f"/session/{self.session}/screenshot")))

    def close(self) -> None:
        try:
            if self.session:
                self.call("DELETE", f"/session/{self.session}")
        finally:
            self.process.terminate()
            self.process.wait(10)
            self.process.stdout.close()
            shutil.rmtree(self.directory, ignore_errors=True)
