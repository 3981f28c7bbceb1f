"""Calls gRPC methods as a program in Python would, and prints what came of each as a line of JSON.

Standard input holds one JSON object: `address`, and `calls`, each with `method` (its path), `messages` (in base64) and,
where wanted, `many` (the method is called as one that takes a stream), `stream` (... that answers with one), `metadata`
(pairs) and `compression` (gzip or deflate). All calls go over one channel, one after the other.
"""

import base64
import json
import sys

import grpc

COMPRESSION = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate, None: None}


def call(channel, method, messages, many=False, stream=False, metadata=(), compression=None):
    kind = ("stream" if many else "unary") + ("_stream" if stream else "_unary")
    # Without serialisers, messages are bytes.
    stub = getattr(channel, kind)(method)
    messages = [base64.b64decode(message) for message in messages]
    options = {
        "metadata": [tuple(pair) for pair in metadata],
        "compression": COMPRESSION[compression],
        "timeout": 60,
    }
    replies, code, text, details, trailers = [], "OK", "", b"", []
    try:
        if stream:
            replies.extend(stub(iter(messages) if many else messages[0], **options))
        else:
            reply, _ = stub.with_call(iter(messages) if many else messages[0], **options)
            replies.append(reply)
    except grpc.RpcError as error:
        code, text = error.code().name, error.details()
        trailers = [[name, str(value)] for name, value in error.trailing_metadata() or ()]
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return {
        "code": code,
        "message": text,
        "details": base64.b64encode(details).decode(),
        "trailers": trailers,
        "replies": [base64.b64encode(reply).decode() for reply in replies],
    }


def main():
    asked = json.load(sys.stdin)
    with grpc.insecure_channel(asked["address"], options=[("grpc.enable_retries", 0)]) as channel:
        for one in asked["calls"]:
            print(json.dumps(call(channel, **one)), flush=True)


main()
