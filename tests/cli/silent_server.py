"""Servers that accept connections and then misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

HOW = ("nothing", "nothing but the first page", "drop by drop", "errors", "closes", "nonsense")


@contextlib.contextmanager
def misbehaving_server(how: str) -> Iterator[tuple[str, list[bytes]]]:
    """A server of this machine: its address, and the first words of the requests that it has got."""
    requests: list[bytes] = []
    held: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                requests.append(data[:40])
                if how == "nothing":
                    continue
                if how == "closes":
                    connection.close()
                elif how == "nonsense":
                    connection.sendall(b"\x00\xff" * 100 + b"\r\n\r\n")
                elif how == "errors":
                    connection.sendall(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
                elif how == "nothing but the first page" and data.startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                elif how == "drop by drop":
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
                    while True:
                        connection.sendall(b" ")
                        time.sleep(0.3)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(listening.accept()[0])
                threading.Thread(target=serve, args=(held[-1],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        for connection in held:
            connection.close()
