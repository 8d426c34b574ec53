"""A small RTSP server for the tests: Motion JPEG (RFC 2435) over RTSP's own connection (RFC 2326).

It can fall silent, be cut off and come back on its port, ask for a password, and change the size of
its frames. Only what a player needs to play is there.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
from contextlib import suppress

import numpy as np

from runtime.opencv import cv2
from tests.runtime.conftest import blob_frame

RATE = 50
PACKET_BYTES = 1200
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track1\r\n"
)


def segments(jpeg: bytes) -> tuple[bytes, bytes]:
    """Split a baseline JPEG into its quantisation tables and its entropy-coded scan."""
    tables, position = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[position : position + 4])
        content = jpeg[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xFFDB:
            # Each table of 64 bytes comes behind one byte with its number.
            tables += b"".join(content[at + 1 : at + 65] for at in range(0, len(content), 65))
        elif marker == 0xFFDA:
            return tables, jpeg[position:-2]


def rtp_packets(frame: np.ndarray, sequence: int, timestamp: int) -> list[bytes]:
    """Encode a frame whose sides are multiples of 16 as RTP packets."""
    _, jpeg = cv2.imencode(".jpg", frame)
    tables, scan = segments(jpeg.tobytes())
    height, width = frame.shape[:2]
    packets = []
    for offset in range(0, len(scan), PACKET_BYTES):
        part = scan[offset : offset + PACKET_BYTES]
        marker = 0x80 if offset + len(part) == len(scan) else 0
        rtp = struct.pack(
            ">BBHII", 0x80, 26 | marker, (sequence + len(packets)) & 0xFFFF, timestamp, 1
        )
        # Type 1 is 4:2:0, quality 255 means that the tables come with the first packet.
        header = struct.pack(">II", offset, 0x01FF0000 | (width // 8) << 8 | height // 8)
        quantisation = struct.pack(">BBH", 0, 0, len(tables)) + tables if offset == 0 else b""
        packets.append(rtp + header + quantisation + part)
    return packets


class RtspServer:
    """Serves ``blob_frame`` to whoever asks, on a port of 127.0.0.1 that it keeps.

    Args:
        auth: ``basic``, ``digest`` or None for no password.
        user: The user.
        password: The password.

    Attributes:
        size_wh: Size of the frames; may be changed at any time.
        silent: When set, connections stay and frames stop.
        refused: How many requests lacked the right password.
        played: How many clients have been let in to play.
    """

    def __init__(self, auth: str | None = None, user: str = "", password: str = "") -> None:
        self.size_wh = (192, 128)
        self.silent = threading.Event()
        self.refused = 0
        self.played = 0
        self.port = 0
        self._auth, self._user, self._password = auth, user, password
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.start()

    @property
    def url(self) -> str:
        user = f"{self._user}:{self._password}@" if self._auth else ""
        return f"rtsp://{user}127.0.0.1:{self.port}/blobs"

    def start(self) -> None:
        """Listen, on the port of the time before if there was one."""
        self.silent.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Cut every connection and let nobody in; it may be stopped already."""
        with self._lock:
            # Closing alone would not wake the thread that waits in accept.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection; new ones are let in."""
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # The client may have been first.
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener.fileno() < 0:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        sender = threading.Lock()
        gone = threading.Event()
        try:
            with connection.makefile("rb") as lines:
                while first := lines.read(1):
                    if first == b"$":
                        # What the player reports of its reception: channel, length, content.
                        _, length = struct.unpack(">BH", lines.read(3))
                        lines.read(length)
                        continue
                    head = first + lines.readline()
                    if head.isspace():
                        continue
                    headers = {}
                    while (line := lines.readline()).strip():
                        name, _, value = line.decode().partition(":")
                        headers[name.strip().lower()] = value.strip()
                    method = head.split()[0].decode()
                    with sender:
                        connection.sendall(self._answer(method, headers))
                    if method == "PLAY":
                        self.played += 1
                        threading.Thread(
                            target=self._play, args=(connection, sender, gone), daemon=True
                        ).start()
        except (OSError, struct.error):
            pass  # Cut off, by us or by the client.
        finally:
            gone.set()
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        lines = ["RTSP/1.0 200 OK", f"CSeq: {headers.get('cseq', '0')}"]
        body = ""
        if self._auth and not self._allowed(method, headers.get("authorization", "")):
            self.refused += 1
            lines[0] = "RTSP/1.0 401 Unauthorized"
            challenge = 'Digest realm="test", nonce="abc"'
            lines.append(
                f"WWW-Authenticate: {challenge if self._auth == 'digest' else 'Basic realm=test'}"
            )
        elif method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = SDP
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        else:
            lines.append("Session: 1")
        return "\r\n".join([*lines, "", body]).encode()

    def _allowed(self, method: str, authorization: str) -> bool:
        if self._auth == "basic":
            token = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            return authorization == f"Basic {token}"
        given = dict(re.findall(r'(\w+)="([^"]*)"', authorization))
        secret = md5(f"{self._user}:test:{self._password}")
        request = md5(f"{method}:{given.get('uri')}")
        return given.get("response") == md5(f"{secret}:abc:{request}")

    def _play(
        self, connection: socket.socket, sender: threading.Lock, gone: threading.Event
    ) -> None:
        index = sequence = 0
        while not gone.wait(1 / RATE):
            if self.silent.is_set():
                continue
            packets = rtp_packets(
                blob_frame(index % 40, self.size_wh), sequence, index * 90000 // RATE
            )
            index += 1
            sequence += len(packets)
            try:
                with sender:
                    for packet in packets:
                        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
            except OSError:
                return


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
