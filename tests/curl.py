"""As much of curl as the documents use, for machines without it."""

import argparse
import http.client
import sys
from urllib.parse import urlsplit


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("url")
    for flag in ("-s", "-S", "-N"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-X", dest="method")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-o", dest="output")
    parser.add_argument("-D", dest="dump")
    parser.add_argument("--max-time", type=float, default=60.0)
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    url = urlsplit(asked.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=asked.max_time)
    method = asked.method or ("GET" if asked.data is None else "POST")
    headers = dict(header.split(": ", 1) for header in asked.headers)
    path = f"{url.path}?{url.query}" if url.query else url.path
    connection.request(method, path, None if asked.data is None else asked.data.encode(), headers)
    answer = connection.getresponse()
    if asked.dump == "-":
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in answer.getheaders()))
        sys.stdout.flush()
    with open(asked.output or sys.stdout.fileno(), "wb", closefd=bool(asked.output)) as out:
        try:
            while data := answer.read1():
                out.write(data)
                out.flush()
        except TimeoutError:
            return 28
    return 0


if __name__ == "__main__":
    sys.exit(main())
