"""Following changes across lost connections."""

import random
import time
from collections.abc import Callable, Iterator

import grpc

from larder.catalog.v1.product_catalog_pb2 import WatchProductsRequest, WatchProductsResponse
from larder.catalog.v1.product_catalog_pb2_grpc import ProductCatalogStub

FIRST_DELAY, LONGEST_DELAY = 0.1, 10.0
# The connection or the replica has gone, or the replica has no room for another stream.
RESUMABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def watch(
    catalog: ProductCatalogStub, request: WatchProductsRequest, opened: Callable[[grpc.Call], None] = lambda call: None
) -> Iterator[WatchProductsResponse]:
    """Yields every change once. A lost stream resumes from its last token, on any replica."""
    request, delay = WatchProductsRequest.FromString(request.SerializeToString()), FIRST_DELAY
    while True:
        try:
            call = catalog.WatchProducts(request)
            opened(call)
            for message in call:
                request.start_token, delay = message.token, FIRST_DELAY
                yield message
        except grpc.RpcError as error:
            if error.code() not in RESUMABLE:
                raise
        # Full jitter: many watchers of one replica do not return at the same moment.
        time.sleep(random.uniform(0, delay))
        delay = min(2 * delay, LONGEST_DELAY)
