"""Connections to Larder."""

from importlib.resources import files

import grpc

# Retries of idempotent calls, a limit on them, deadlines, and round_robin.
SERVICE_CONFIG = files("larder").joinpath("service_config.json").read_text()


def connect(target: str, *interceptors, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Returns a channel to all replicas behind a name, such as `dns:///larder-headless:50051`.

    Without credentials, which `secured` makes, the channel speaks plain text.
    """
    options = [
        ("grpc.service_config", SERVICE_CONFIG),
        # Notices a dead replica while a stream is open.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if credentials is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        channel = grpc.secure_channel(target, credentials, options=options)
    return grpc.intercept_channel(channel, *interceptors)


def secured(ca: bytes | None = None, token: str | None = None) -> grpc.ChannelCredentials:
    """TLS by the authorities in `ca`, in PEM, or by the public ones, and a token that goes with every call."""
    tls = grpc.ssl_channel_credentials(ca)
    if token is None:
        return tls
    return grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token))
