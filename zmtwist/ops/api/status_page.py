"""The status page: a handful of files, read once, without any data in them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import attrs
from twisted.web.http import CACHED
from twisted.web.server import Request

from zmtwist.ops.http.errors import ApiError

DIRECTORY = Path(__file__).parents[1] / "page"
INDEX = "index.html"

KINDS: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; connect-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What the page may do: nothing but run its own files and speak to its own service. No text becomes markup or code."""


@attrs.frozen
class Pages:
    """The page's files by name. `digest` stands for the content of them all, so that browsers may keep each version for ever."""

    files: Mapping[str, bytes]
    digest: str

    @classmethod
    def read(cls, directory: Path = DIRECTORY) -> Pages:
        """Those in `directory`. Reads a few small local files."""
        files = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.suffix in KINDS}
        digest = sha256(b"\0".join(name.encode() + b"\0" + data for name, data in files.items())).hexdigest()[:16]
        return cls({**files, INDEX: files[INDEX].replace(b"{digest}", digest.encode())}, digest)

    @property
    def paths(self) -> frozenset[str]:
        """Where they are served."""
        return frozenset({"/", *(f"/page/{self.digest}/{name}" for name in self.files if name != INDEX)})

    def index(self, request: Request) -> bytes:
        """The page. Browsers ask each time whether there is another."""
        tag = b'"%s"' % self.digest.encode()
        self._as(request, INDEX, b"no-cache")
        request.setHeader(b"content-security-policy", POLICY.encode())
        if request.setETag(tag) is CACHED:
            return b""
        return self.files[INDEX]

    def file(self, request: Request, digest: str, name: str) -> bytes:
        """One of the files that belong to it. Raises ApiError for another version's."""
        if digest != self.digest or name not in self.files or name == INDEX:
            raise ApiError(404, "not_found", "the page has changed: load it again")
        self._as(request, name, b"public, max-age=31536000, immutable")
        return self.files[name]

    def _as(self, request: Request, name: str, keep: bytes) -> None:
        request.setHeader(b"content-type", KINDS[Path(name).suffix].encode())
        request.setHeader(b"cache-control", keep)
