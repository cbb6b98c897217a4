"""The S3 server of tests."""

from tests.s3_server import bucket, proxy, s3_server

__all__ = ["bucket", "proxy", "s3_server"]
