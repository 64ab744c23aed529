"""An S3 server on this machine, which fails as it is told."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "activations"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass


class S3Server:
    """Serves one bucket; `fault` says of each request, by its number and method, what goes wrong with it."""

    def __init__(self) -> None:
        self.app = DomainDispatcherApplication(create_backend_app)
        self.fault: Callable[[int, str], str] = lambda number, method: ""
        self.numbers = itertools.count()
        self.server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.url, **keys)
        self.client.create_bucket(Bucket=BUCKET)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault = self.fault(next(self.numbers), environ["REQUEST_METHOD"])
        if fault in ("500", "503", "403"):
            start_response(f"{fault} told to", [("Content-Type", "application/xml")])
            return [f"<Error><Code>{'SlowDown' if fault == '503' else 'AccessDenied'}</Code></Error>".encode()]
        if fault == "cut":  # fewer bytes than were announced
            start_response("200 OK", [("Content-Length", "1000000")])
            return [b"half"]
        if fault == "slow":
            time.sleep(0.5)
        return self.app(environ, start_response)

    def names(self) -> list[str]:
        """What the bucket holds."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", []))

    def close(self) -> None:
        self.server.shutdown()
