"""Headless Chromium, told what to do over a pipe, for tests and for pictures of pages.

The messages are those of the Chrome DevTools Protocol
(chromedevtools.github.io/devtools-protocol); with `--remote-debugging-pipe` Chromium reads them
from its descriptor 3 and answers on 4, each ended by a zero byte. No client for websockets is
needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
#: No sandbox: a container's root has none, and only pages that we wrote are opened. No proxy: what
#: is opened is on this machine. WebGL, which TensorBoard's projector draws with, by the CPU.
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update",
    "--hide-scrollbars", "--font-render-hinting=none", "--remote-debugging-pipe",
)  # fmt: skip
#: Text of a page as it stands there, those trees too that web components keep to themselves.
_TEXT = """
(function read(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (['STYLE', 'SCRIPT', 'TEMPLATE'].includes(node.nodeName)) return '';
  const hidden = [node.shadowRoot, node.contentDocument].filter(Boolean);
  return [...hidden, ...node.childNodes].map(read).join(' ');
})(document)
"""
#: The elements of a selector in all those trees.
_ALL = """
(function all(root) {
  const inner = [...root.querySelectorAll('*')]
    .flatMap(e => [e.shadowRoot, e.contentDocument]).filter(Boolean);
  return [...root.querySelectorAll(SELECTOR), ...inner.flatMap(all)];
})(document)
"""


def found() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A Chromium with a profile of its own; a context manager, which ends it."""

    def __init__(self) -> None:
        program = found()
        if program is None:
            raise FileNotFoundError(f"No Chromium is found: none of {', '.join(NAMES)} is in PATH.")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # A shell, because the descriptors have to be 3 and 4.
        shell = f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@" 2>/dev/null'
        place = f"--user-data-dir={self._profile.name}"
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *_OPTIONS, place, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._buffer = 0, b""
        self.events: list[dict[str, Any]] = []  #: of all pages, as they came

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def page(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> Page:
        """An empty page.

        Args:
            width: In CSS pixels, as all sizes; below 600 it is a phone's.
            height: Of the window.
            dark: What the user prefers.
            scale: Pixels of a screenshot to a CSS pixel.
        """
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        given = {"targetId": target, "flatten": True}
        page = Page(self, self.call("Target.attachToTarget", given)["sessionId"], target)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.resize(width, height, scale)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [theme]})
        return page

    def call(
        self, method: str, given: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """What a method of the protocol answers.

        Raises:
            RuntimeError: It is refused.
            TimeoutError: Nothing came for a minute.
        """
        number = self._send(method, given, session)
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                answer: dict[str, Any] = message["result"]
                return answer
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if "method" in message:
            self.events.append(message)
        if message.get("method") == "Page.javascriptDialogOpening":
            # A page with an open alert answers nothing more.
            self._send("Page.handleJavaScriptDialog", {"accept": True}, message["sessionId"])

    def _send(self, method: str, given: dict[str, Any] | None, session: str | None) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        return self._number

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], 60.0)[0]:
                raise TimeoutError("Chromium has said nothing for a minute.")
            if not (more := os.read(self._from, 1 << 20)):
                raise RuntimeError("Chromium has ended.")
            self._buffer += more
        one, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message


class Page:
    """A tab of the browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser, self._session, self._target = browser, session, target

    def call(self, method: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """What a method of the protocol answers for this page."""
        return self._browser.call(method, given, self._session)

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """See `Browser.page`."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.call("Emulation.setDeviceMetricsOverride", size | {"mobile": width < 600})

    def go(self, url: str, until: str = "document.readyState === 'complete'") -> None:
        """Open a page and wait; by default until all of it is loaded."""
        self.call("Page.navigate", {"url": url})
        self.wait(f"location.href !== 'about:blank' && ({until})")

    def script(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON has it.

        Raises:
            RuntimeError: It throws.
        """
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 120.0) -> Any:
        """The value of an expression, once it is true.

        Raises:
            TimeoutError: It never is; with the text of the page.
        """
        end = time.monotonic() + seconds
        while not (value := self.script(expression)):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} in {self.text()[-2000:]}")
            time.sleep(0.1)
        return value

    def text(self) -> str:
        """All text of the page, whether it is in view or not; spaces made one."""
        return " ".join(str(self.script(_TEXT)).split())

    def each(self, selector: str, expression: str) -> list[Any]:
        """The value of an expression of `e`, for each element that a CSS selector finds."""
        elements = _ALL.replace("SELECTOR", json.dumps(selector))
        found: list[Any] = self.script(f"{elements}.map(e => ({expression}))")
        return found

    def wait_text(self, *texts: str, seconds: float = 120.0) -> str:
        """The page's text, once all of these are in it.

        Raises:
            TimeoutError: They never are.
        """
        end = time.monotonic() + seconds
        while missing := [one for one in texts if one not in (text := self.text())]:
            if time.monotonic() > end:
                raise TimeoutError(f"{missing} not in {text[-2000:]}")
            time.sleep(0.2)
        return text

    def screenshot(self, box: tuple[float, float, float, float] | None = None) -> bytes:
        """A PNG of the window, or of a box (left, top, width, height) of the whole page."""
        given: dict[str, Any] = {"format": "png"}
        if box:
            clip = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
            given |= {"clip": clip, "captureBeyondViewport": True}
        return base64.b64decode(self.call("Page.captureScreenshot", given)["data"])

    def events(self, method: str) -> list[dict[str, Any]]:
        """What the page has reported under that name of the protocol so far."""
        self.script("1")
        own = [one for one in self._browser.events if one.get("sessionId") == self._session]
        return [one["params"] for one in own if one["method"] == method]

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", {"targetId": self._target})
