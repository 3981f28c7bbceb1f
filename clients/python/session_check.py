"""Writes on one replica and reads each write at once on the other: `python session_check.py HOST:PORT HOST:PORT COUNT`."""

import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import larder
from larder.catalog.v1.product_catalog_pb2 import CreateProductRequest, GetProductRequest, UpdateProductRequest
from larder.catalog.v1.product_catalog_pb2_grpc import ProductCatalogStub
from larder.catalog.v1.product_pb2 import Product

USERS = 16


def main(addresses: list[str], count: int) -> int:
    with ThreadPoolExecutor(USERS) as pool:
        right = sum(pool.map(lambda user: one_user(addresses, user, count), range(USERS)))
    print(f"session: {right} of {count} reads show the write before them")
    return 0 if right == count else 1


def one_user(addresses: list[str], user: int, count: int) -> int:
    """The share of one user, who always makes two writes at once. Returns how many reads were right."""
    session, right = larder.Session(), 0
    channels = [larder.connect(address, session) for address in addresses]
    catalogs = [ProductCatalogStub(channel) for channel in channels]
    products = [f"session-python-{user}-{uuid.uuid4().hex}" for _ in range(2)]
    for product in products:
        request = CreateProductRequest(product=Product(id=product, name="new"), request_id=str(uuid.uuid4()))
        catalogs[0].CreateProduct(request, timeout=30)
    for number in range(user, count // 2, USERS):
        turn = number // USERS % 2
        writer, reader, name = catalogs[turn], catalogs[1 - turn], str(number)
        updates = [
            UpdateProductRequest(product=Product(id=product, name=name), request_id=str(uuid.uuid4()))
            for product in products
        ]
        for write in [writer.UpdateProduct.future(update, timeout=30) for update in updates]:
            write.result()
        for product in products:
            right += reader.GetProduct(GetProductRequest(id=product), timeout=30).product.name == name
    for channel in channels:
        channel.close()
    return right


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:3], int(sys.argv[3])))
