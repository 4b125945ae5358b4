"""A package index of the test's own: it asks for a password, and answers only when it is told to."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class IndexServer:
    """``url`` has the credentials in it. ``asked`` is set by the first request; ``answer`` lets it answer."""

    url: str
    secret: str
    asked: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)
    refused: int = 0
    served: int = 0


@contextmanager
def index_server(wheels: Path, *, user: str = "me", secret: str = "hunter2") -> Iterator[IndexServer]:
    """Serve a folder of wheels as PEP 503 says, until the block ends."""
    expected = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
    index = IndexServer("", secret)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.set()
            index.answer.wait(60)
            if self.headers.get("Authorization") != expected:
                index.refused += 1
                self._send(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="index"'})
                return
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple":
                prefix = name.strip("/").replace("-", "_")
                found = sorted(file.name for file in wheels.glob(f"{prefix}-*.whl"))
                links = "".join(f'<a href="/files/{file}">{file}</a>' for file in found)
                self._send(200 if found else 404, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())
            elif (wheels / name).is_file():
                index.served += 1
                self._send(200, (wheels / name).read_bytes(), {"Content-Type": "application/octet-stream"})
            else:
                self._send(404, b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            for name, value in {"Content-Type": "text/html", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False  # those that answer are waited for at the end
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    index.url = f"http://{user}:{secret}@127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        index.answer.set()
        server.shutdown()
        thread.join()
        server.server_close()
