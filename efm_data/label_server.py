"""
The page on which a person labels attempts, over HTTP to this machine only.

Only pages of this server may use it. ``Host`` must name the server, so that another name cannot
point here (DNS rebinding). A ``POST`` must have the server's own ``Origin``, and JSON content, so
that a foreign page cannot add a label. An address contains numbers only, never a path.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
import json
from pathlib import Path
import re
import secrets
from socketserver import ThreadingTCPServer
import sys
from typing import Any

from efm_data.labelling import LabellingSession, NotCurrent

HOST = '127.0.0.1'
PAGE_FILE = Path(__file__).with_name('label_page.html')
FRAME = re.compile(r'/frames/(\d{1,6})/(\d{1,3})/(\d{1,6})', re.ASCII)
JSON = 'application/json'
MAX_BODY = 4096  # [bytes]
TIMEOUT_S = 30.0  # of a connection without a request
FIELDS = {'/label': {'episode_id', 'success_at', 'seconds'}, '/undo': {'seconds'}}


class RefusedRequest(Exception):  # noqa: N818, names the fate of a request
    """A request that the server does not carry out."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class LabelServer(ThreadingTCPServer):
    """Serves the page of one session; ``serve_forever`` runs until ``shutdown``."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, session: LabellingSession, port: int = 0):
        """
        Listen on a port of this machine.

        :param port: 0: any free port.
        :raises OSError: when the port is in use.
        """
        self.session = session
        self.nonce = secrets.token_urlsafe()
        try:
            super().__init__((HOST, port), LabelHandler)
        except OSError as error:
            raise OSError(f'port: expected a free one, got {port}: {error.strerror}') from error

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self.server_address[1])

    @property
    def hosts(self) -> tuple[str, str]:
        """The values of ``Host`` under which a browser may know this server."""
        return f'{HOST}:{self.port}', f'localhost:{self.port}'

    def page(self) -> bytes:
        """Return the page; only its own script and style have the nonce of this server."""
        return PAGE_FILE.read_text('utf-8').replace('NONCE', self.nonce).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that has closed its connection."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class LabelHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = 'HTTP/1.1'
    timeout = TIMEOUT_S
    server: LabelServer

    def do_GET(self) -> None:
        """Send the page, its state, or an image."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Change the labels and send the new state."""
        self._answer(self._post)

    def version_string(self) -> str:
        """Return the name of the server, without versions."""
        return 'efm'

    def log_message(self, *args: Any, **_: Any) -> None:
        """Print nothing for a request."""

    def _answer(self, make: Callable[[], tuple[str, bytes]]) -> None:
        """Send the content that ``make`` returns, or why there is none."""
        try:
            self._check_host()
            self._send(HTTPStatus.OK, *make())
        except RefusedRequest as error:
            self._refuse(error.status, error)
        except NotCurrent as error:
            self._refuse(HTTPStatus.CONFLICT, error)
        except (ValueError, IndexError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, error)
        except ConnectionError:
            raise
        except OSError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, error)

    def _get(self) -> tuple[str, bytes]:
        """Return type and content of what the address names."""
        session = self.server.session
        if self.path == '/':
            return 'text/html; charset=utf-8', self.server.page()
        if self.path == '/state':
            return JSON, json.dumps(session.state()).encode()
        numbers = FRAME.fullmatch(self.path)
        if numbers is None:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, f'no such page: {self.path[:80]}')
        try:
            return 'image/png', session.frame(*map(int, numbers.groups()))
        except IndexError as error:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, f'no such image: {self.path}') from error

    def _post(self) -> tuple[str, bytes]:
        """Carry out a change; return the new state."""
        if self.path not in FIELDS:
            raise RefusedRequest(HTTPStatus.NOT_FOUND, f'no such action: {self.path[:80]}')
        origin = self.headers.get('Origin')
        if origin not in [f'http://{host}' for host in self.server.hosts]:
            reason = f"Origin: expected this server's own page, got {origin}"
            raise RefusedRequest(HTTPStatus.FORBIDDEN, reason)
        fields = self._body()
        if self.path == '/label':
            self.server.session.label(**fields)
        else:
            self.server.session.undo(**fields)
        return JSON, json.dumps(self.server.session.state()).encode()

    def _check_host(self) -> None:
        """Refuse a request to another name."""
        host = self.headers.get('Host')
        if host not in self.server.hosts:
            wanted = ' or '.join(self.server.hosts)
            raise RefusedRequest(HTTPStatus.FORBIDDEN, f'Host: expected {wanted}, got {host}')

    def _body(self) -> dict[str, Any]:
        """
        Return the fields of a JSON object.

        :raises RefusedRequest: when its type, size or fields are others.
        """
        if self.headers.get_content_type() != JSON:
            raise RefusedRequest(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f'expected {JSON}')
        length = self.headers.get('Content-Length', '')
        if not re.fullmatch('[0-9]{1,9}', length):
            raise RefusedRequest(HTTPStatus.LENGTH_REQUIRED, 'expected Content-Length')
        if int(length) > MAX_BODY:
            reason = f'expected at most {MAX_BODY} bytes, got {length}'
            raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        try:
            fields = json.loads(self.rfile.read(int(length)))
        except RecursionError as error:
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, 'expected plain fields') from error
        if not isinstance(fields, dict) or fields.keys() != FIELDS[self.path]:
            wanted = ', '.join(sorted(FIELDS[self.path]))
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, f'expected the fields {wanted}')
        return fields

    def _refuse(self, status: HTTPStatus, error: Exception) -> None:
        """Send an error, and close the connection: its body may not have been read."""
        self.close_connection = True
        self._send(status, JSON, json.dumps({'error': str(error)}).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        own = f"'nonce-{self.server.nonce}'"
        policy = (
            f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self.send_response(status)
        for name, value in (
            ('Content-Type', kind),
            ('Content-Length', str(len(content))),
            ('Cache-Control', 'no-store'),
            ('Content-Security-Policy', policy),
            ('Cross-Origin-Resource-Policy', 'same-origin'),
            ('X-Content-Type-Options', 'nosniff'),
            ('Referrer-Policy', 'no-referrer'),
        ):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header('Connection', 'close')
        self.end_headers()
        self.wfile.write(content)
