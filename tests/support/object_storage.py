"""A server of S3's protocol on this machine: moto's, with one bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

BUCKET = "photos"


@dataclass(frozen=True, slots=True)
class Storage:
    """The server.

    Attributes:
        client: boto3's client of it.
        environment: What lets other processes find it; set in this one too.
    """

    client: Any
    environment: Mapping[str, str]

    def put(self, key: str, content: bytes) -> str:
        """Write an object, and return its URL."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"


@contextmanager
def object_storage() -> Iterator[Storage]:
    """Start the server for the body."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield Storage(client, environment)
        client.close()
    finally:
        # It keeps the address of the server.
        S3FileSystem.clear_instance_cache()
        server.stop()
        os.environ.clear()
        os.environ.update(before)
