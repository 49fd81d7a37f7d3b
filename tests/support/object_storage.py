"""Servers of the protocols of S3 and Google Cloud Storage on this machine, with one bucket each."""

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


@contextmanager
def google_storage() -> Iterator[Any]:
    """Start a server of Google's protocol for the body; yield fsspec's file system of it."""
    import fsspec
    import fsspec.config
    from gcp_storage_emulator.server import create_server

    before, configured = dict(os.environ), fsspec.config.conf.get("gs")
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    host, port = server._api._httpd.server_address[:2]
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://{host}:{port}"
    # Without it, gcsfs asks Google for the kind of the bucket.
    os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
    fsspec.config.conf["gs"] = {"token": "anon"}
    try:
        from gcsfs.core import GCSFileSystem

        fsspec.register_implementation("gs", GCSFileSystem, clobber=True)
        yield fsspec.filesystem("gs", use_listings_cache=False)
    finally:
        GCSFileSystem.clear_instance_cache()
        server.stop()
        fsspec.config.conf.pop("gs")
        if configured is not None:
            fsspec.config.conf["gs"] = configured
        os.environ.clear()
        os.environ.update(before)
