"""Every call of Larder once, to copy from: `python tour.py HOST:PORT HOST:PORT`, two replicas of one catalogue."""

import os
import secrets
import sys
import uuid
from pathlib import Path

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.money_pb2 import Money

import larder
from larder.catalog.v1.cache_pb2 import ReadOptions
from larder.catalog.v1.product_catalog_pb2 import (
    BatchGetProductsRequest,
    CreateProductRequest,
    DeleteProductRequest,
    GetProductRequest,
    ListProductsRequest,
    SearchProductsRequest,
    UpdateProductRequest,
    WatchProductsRequest,
)
from larder.catalog.v1.product_catalog_pb2_grpc import ProductCatalogStub
from larder.catalog.v1.product_pb2 import Product, ProductFilter


def main(first: str, second: str) -> None:
    # In a cluster one channel leads to all replicas: larder.connect("dns:///larder-headless:50051").
    with connect(first) as one, connect(second) as two:
        catalog, replica = ProductCatalogStub(one), ProductCatalogStub(two)
        product = create(catalog)
        read_metadata(catalog, product)
        update(catalog, product)
        lists(catalog, product)
        errors(catalog)
        read_your_writes(catalog, replica, product)
        with_a_session(first, second, product)
        follow(catalog, replica, product)
        catalog.DeleteProduct(DeleteProductRequest(id=product.id), timeout=30)
        print("delete: ok")


def connect(target: str, *interceptors) -> grpc.Channel:
    # A server with TLS and tokens: LARDER_CA names its authorities, LARDER_TOKEN_FILE your token.
    credentials = None
    if "LARDER_CA" in os.environ:
        ca = Path(os.environ["LARDER_CA"]).read_bytes()
        token = Path(os.environ["LARDER_TOKEN_FILE"]).read_text().strip()
        credentials = larder.secured(ca, token)
    return larder.connect(target, *interceptors, credentials=credentials)


def create(catalog: ProductCatalogStub) -> Product:
    price = Money(currency_code="EUR", units=12, nanos=500_000_000)
    product = Product(id=f"python-{uuid.uuid4().hex}", name="Copper kettle", price=price, tags=["python"])
    # The request id makes it safe to repeat the call, so that the channel may retry it.
    request = CreateProductRequest(product=product, request_id=str(uuid.uuid4()))
    created = catalog.CreateProduct(request, timeout=30)
    assert catalog.CreateProduct(request, timeout=30).product == created.product
    print("create:", created.product.id)
    return created.product


def read_metadata(catalog: ProductCatalogStub, product: Product) -> None:
    # OpenTelemetry's instrumentation of gRPC adds traceparent by itself.
    traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    metadata = [("traceparent", traceparent), ("x-cache-debug", "1")]
    got, call = catalog.GetProduct.with_call(GetProductRequest(id=product.id), timeout=30, metadata=metadata)
    assert got.product == product
    headers = dict(call.initial_metadata())
    assert headers["x-cache-status"] in {"HIT", "MISS"} and headers["x-request-id"]
    print("get:", headers["x-cache-status"], "from", headers["x-cache-tier"])
    print("traceparent:", traceparent)


def update(catalog: ProductCatalogStub, product: Product) -> None:
    change = UpdateProductRequest(
        product=Product(id=product.id, in_stock=True, etag=product.etag),
        update_mask=FieldMask(paths=["in_stock"]),
        request_id=str(uuid.uuid4()),
    )
    updated = catalog.UpdateProduct(change, timeout=30)
    assert updated.product.in_stock and updated.product.name == product.name
    # Somebody else changes the product with the etag of before: read it again, and decide anew.
    change.request_id = str(uuid.uuid4())
    try:
        catalog.UpdateProduct(change, timeout=30)
        raise AssertionError("the etag has changed")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.ABORTED and larder.details(error).reason == "ETAG_MISMATCH"
    print("update: ok, and a conflict is told")


def lists(catalog: ProductCatalogStub, product: Product) -> None:
    fresh = ReadOptions(fully_consistent=True)
    request = ListProductsRequest(order_by="price desc", page_size=20, read=fresh)
    seen, pages = set(), 0
    while not pages or request.page_token:
        page = catalog.ListProducts(request, timeout=30)
        seen.update(found.id for found in page.products)
        request.page_token, pages = page.next_page_token, pages + 1
    assert product.id in seen and pages > 1
    batch = catalog.BatchGetProducts(BatchGetProductsRequest(ids=[product.id, "no-such"], read=fresh), timeout=30)
    assert [found.id for found in batch.products] == [product.id] and batch.missing_ids == ["no-such"]
    search = SearchProductsRequest(query="copper kettle", filter=ProductFilter(tag="python"), read=fresh)
    assert product.id in {found.id for found in catalog.SearchProducts(search, timeout=30).products}
    print(f"list: {len(seen)} products on {pages} pages; batch and search: ok")


def errors(catalog: ProductCatalogStub) -> None:
    try:
        catalog.CreateProduct(CreateProductRequest(product=Product(id="a b")), timeout=30)
        raise AssertionError("the product is wrong")
    except grpc.RpcError as error:
        details = larder.details(error)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and details.reason == "INVALID_REQUEST"
        assert {"product.id", "product.name"} <= details.violations.keys()
        # Errors that pass, such as an overload, say when to try again.
        assert details.retry_after is None
    print("error:", details.reason, details.violations)


def read_your_writes(catalog: ProductCatalogStub, replica: ProductCatalogStub, product: Product) -> None:
    change = UpdateProductRequest(
        product=Product(id=product.id, name="Steel kettle"),
        update_mask=FieldMask(paths=["name"]),
        request_id=str(uuid.uuid4()),
    )
    token = catalog.UpdateProduct(change, timeout=30).token
    read = GetProductRequest(id=product.id, read=ReadOptions(at_least_as_fresh=token))
    assert replica.GetProduct(read, timeout=30).product.name == "Steel kettle"
    print("read your writes: ok")


def with_a_session(first: str, second: str, product: Product) -> None:
    session = larder.Session()  # One for each user.
    with connect(first, session) as one, connect(second, session) as two:
        catalog, replica = ProductCatalogStub(one), ProductCatalogStub(two)
        for name in ["Iron kettle", "Glass kettle"]:
            change = UpdateProductRequest(product=Product(id=product.id, name=name), request_id=str(uuid.uuid4()))
            catalog.UpdateProduct(change, timeout=30)
            assert replica.GetProduct(GetProductRequest(id=product.id), timeout=30).product.name == name
        # A token of a database that is no more. The error says so once, and the session goes on without it.
        session.add("AhoJW8_d-j45AAAAAAAAAALHeehTpHEDTgAAAAAAAAAD9XhZyXs9Q3U")
        try:
            catalog.GetProduct(GetProductRequest(id=product.id), timeout=30)
            raise AssertionError("the token is lost")
        except grpc.RpcError as error:
            assert larder.details(error).reason.startswith("TOKEN_")
        catalog.GetProduct(GetProductRequest(id=product.id), timeout=30)
    print("session: ok")


def follow(catalog: ProductCatalogStub, replica: ProductCatalogStub, product: Product) -> None:
    def rename(name: str) -> str:
        change = UpdateProductRequest(product=Product(id=product.id, name=name), request_id=str(uuid.uuid4()))
        return catalog.UpdateProduct(change, timeout=30).token

    def next_name(changes) -> tuple[str, str]:
        for message in changes:
            if message.HasField("event") and message.event.id == product.id:
                return message.event.product.name, message.token
        raise AssertionError("the stream ended")

    start = rename("Before the watch")
    changes = larder.watch(catalog, WatchProductsRequest(start_token=start))
    rename("Kettle 1")
    name, token = next_name(changes)
    assert name == "Kettle 1"
    changes.close()
    rename("Kettle 2")
    # Another replica goes on where the first one stopped.
    changes = larder.watch(replica, WatchProductsRequest(start_token=token))
    name, _ = next_name(changes)
    assert name == "Kettle 2"
    changes.close()
    print("watch: ok, and resumed on the other replica")


if __name__ == "__main__":
    main(*sys.argv[1:3])
