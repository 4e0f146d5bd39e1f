"""Receives Tidegate's webhooks: python receive.py PORT, with the secret in HOOK_SECRET."""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer

TOLERANCE = 300  # seconds
KEY = base64.b64decode(os.environ["HOOK_SECRET"].removeprefix("whsec_"))
seen: set[str] = set()  # in earnest: a table with a unique key


def verified(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of the signatures is ours, of these very bytes, and of the last minutes."""
    uid, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    digest = hmac.new(KEY, f"{uid}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    wanted = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(wanted, one) for one in given)


class Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not verified(self.headers, body):
            self.answer(401)
            return
        event = json.loads(body)
        if event["id"] not in seen:  # the same event may come twice
            seen.add(event["id"])
            print(event["type"], event["source"], flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Hook).serve_forever()
