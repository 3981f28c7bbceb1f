"""Connections to Larder."""

from importlib.resources import files

import grpc

# Retries of idempotent calls, a limit on them, deadlines, and round_robin.
SERVICE_CONFIG = files("larder").joinpath("service_config.json").read_text()


def connect(target: str, *interceptors) -> grpc.Channel:
    """Returns a channel to all replicas behind a name, such as `dns:///larder-headless:50051`."""
    channel = grpc.insecure_channel(
        target,
        options=[
            ("grpc.service_config", SERVICE_CONFIG),
            # Notices a dead replica while a stream is open.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        ],
    )
    return grpc.intercept_channel(channel, *interceptors)
