from google.protobuf import field_mask_pb2 as _field_mask_pb2
from larder.catalog.v1 import cache_pb2 as _cache_pb2
from larder.catalog.v1 import product_pb2 as _product_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProductEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRODUCT_EVENT_KIND_UNSPECIFIED: _ClassVar[ProductEventKind]
    PRODUCT_EVENT_KIND_PUT: _ClassVar[ProductEventKind]
    PRODUCT_EVENT_KIND_DELETE: _ClassVar[ProductEventKind]
    PRODUCT_EVENT_KIND_LEFT: _ClassVar[ProductEventKind]
    PRODUCT_EVENT_KIND_RESYNC: _ClassVar[ProductEventKind]
PRODUCT_EVENT_KIND_UNSPECIFIED: ProductEventKind
PRODUCT_EVENT_KIND_PUT: ProductEventKind
PRODUCT_EVENT_KIND_DELETE: ProductEventKind
PRODUCT_EVENT_KIND_LEFT: ProductEventKind
PRODUCT_EVENT_KIND_RESYNC: ProductEventKind

class GetProductRequest(_message.Message):
    __slots__ = ("id", "read")
    ID_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    id: str
    read: _cache_pb2.ReadOptions
    def __init__(self, id: _Optional[str] = ..., read: _Optional[_Union[_cache_pb2.ReadOptions, _Mapping]] = ...) -> None: ...

class GetProductResponse(_message.Message):
    __slots__ = ("product", "cache")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    cache: _cache_pb2.CacheInfo
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., cache: _Optional[_Union[_cache_pb2.CacheInfo, _Mapping]] = ...) -> None: ...

class BatchGetProductsRequest(_message.Message):
    __slots__ = ("ids", "read")
    IDS_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    read: _cache_pb2.ReadOptions
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., read: _Optional[_Union[_cache_pb2.ReadOptions, _Mapping]] = ...) -> None: ...

class BatchGetProductsResponse(_message.Message):
    __slots__ = ("products", "missing_ids", "cache", "counts", "unreadable_ids")
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    MISSING_IDS_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_IDS_FIELD_NUMBER: _ClassVar[int]
    products: _containers.RepeatedCompositeFieldContainer[_product_pb2.Product]
    missing_ids: _containers.RepeatedScalarFieldContainer[str]
    cache: _cache_pb2.CacheInfo
    counts: _cache_pb2.CacheCounts
    unreadable_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, products: _Optional[_Iterable[_Union[_product_pb2.Product, _Mapping]]] = ..., missing_ids: _Optional[_Iterable[str]] = ..., cache: _Optional[_Union[_cache_pb2.CacheInfo, _Mapping]] = ..., counts: _Optional[_Union[_cache_pb2.CacheCounts, _Mapping]] = ..., unreadable_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListProductsRequest(_message.Message):
    __slots__ = ("filter", "order_by", "page_size", "page_token", "include_total_size", "read")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    filter: _product_pb2.ProductFilter
    order_by: str
    page_size: int
    page_token: str
    include_total_size: bool
    read: _cache_pb2.ReadOptions
    def __init__(self, filter: _Optional[_Union[_product_pb2.ProductFilter, _Mapping]] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_total_size: _Optional[bool] = ..., read: _Optional[_Union[_cache_pb2.ReadOptions, _Mapping]] = ...) -> None: ...

class ListProductsResponse(_message.Message):
    __slots__ = ("products", "next_page_token", "total_size", "cache", "unreadable_ids")
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_IDS_FIELD_NUMBER: _ClassVar[int]
    products: _containers.RepeatedCompositeFieldContainer[_product_pb2.Product]
    next_page_token: str
    total_size: int
    cache: _cache_pb2.CacheInfo
    unreadable_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, products: _Optional[_Iterable[_Union[_product_pb2.Product, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., cache: _Optional[_Union[_cache_pb2.CacheInfo, _Mapping]] = ..., unreadable_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class SearchProductsRequest(_message.Message):
    __slots__ = ("query", "filter", "page_size", "page_token", "read")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_FIELD_NUMBER: _ClassVar[int]
    query: str
    filter: _product_pb2.ProductFilter
    page_size: int
    page_token: str
    read: _cache_pb2.ReadOptions
    def __init__(self, query: _Optional[str] = ..., filter: _Optional[_Union[_product_pb2.ProductFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read: _Optional[_Union[_cache_pb2.ReadOptions, _Mapping]] = ...) -> None: ...

class SearchProductsResponse(_message.Message):
    __slots__ = ("products", "next_page_token", "cache", "unreadable_ids")
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_IDS_FIELD_NUMBER: _ClassVar[int]
    products: _containers.RepeatedCompositeFieldContainer[_product_pb2.Product]
    next_page_token: str
    cache: _cache_pb2.CacheInfo
    unreadable_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, products: _Optional[_Iterable[_Union[_product_pb2.Product, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., cache: _Optional[_Union[_cache_pb2.CacheInfo, _Mapping]] = ..., unreadable_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateProductRequest(_message.Message):
    __slots__ = ("product", "request_id", "validate_only")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    request_id: str
    validate_only: bool
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CreateProductResponse(_message.Message):
    __slots__ = ("product", "token")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    token: str
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class UpdateProductRequest(_message.Message):
    __slots__ = ("product", "update_mask", "allow_missing", "request_id", "validate_only")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    update_mask: _field_mask_pb2.FieldMask
    allow_missing: bool
    request_id: str
    validate_only: bool
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., allow_missing: _Optional[bool] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdateProductResponse(_message.Message):
    __slots__ = ("product", "token")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    token: str
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., token: _Optional[str] = ...) -> None: ...

class DeleteProductRequest(_message.Message):
    __slots__ = ("id", "etag", "allow_missing")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    id: str
    etag: str
    allow_missing: bool
    def __init__(self, id: _Optional[str] = ..., etag: _Optional[str] = ..., allow_missing: _Optional[bool] = ...) -> None: ...

class DeleteProductResponse(_message.Message):
    __slots__ = ("token",)
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token: str
    def __init__(self, token: _Optional[str] = ...) -> None: ...

class ImportProductsRequest(_message.Message):
    __slots__ = ("product", "line")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    product: _product_pb2.Product
    line: int
    def __init__(self, product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ..., line: _Optional[int] = ...) -> None: ...

class ImportProductsResponse(_message.Message):
    __slots__ = ("created", "updated", "unchanged", "rejected", "rejections", "through_line", "token")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    THROUGH_LINE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    created: int
    updated: int
    unchanged: int
    rejected: int
    rejections: _containers.RepeatedCompositeFieldContainer[RejectedProduct]
    through_line: int
    token: str
    def __init__(self, created: _Optional[int] = ..., updated: _Optional[int] = ..., unchanged: _Optional[int] = ..., rejected: _Optional[int] = ..., rejections: _Optional[_Iterable[_Union[RejectedProduct, _Mapping]]] = ..., through_line: _Optional[int] = ..., token: _Optional[str] = ...) -> None: ...

class RejectedProduct(_message.Message):
    __slots__ = ("line", "id", "reason")
    LINE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    line: int
    id: str
    reason: str
    def __init__(self, line: _Optional[int] = ..., id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class WatchProductsRequest(_message.Message):
    __slots__ = ("start_token", "filter")
    START_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    start_token: str
    filter: _product_pb2.ProductFilter
    def __init__(self, start_token: _Optional[str] = ..., filter: _Optional[_Union[_product_pb2.ProductFilter, _Mapping]] = ...) -> None: ...

class WatchProductsResponse(_message.Message):
    __slots__ = ("token", "event")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    token: str
    event: ProductEvent
    def __init__(self, token: _Optional[str] = ..., event: _Optional[_Union[ProductEvent, _Mapping]] = ...) -> None: ...

class ProductEvent(_message.Message):
    __slots__ = ("kind", "id", "etag", "product")
    KIND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    kind: ProductEventKind
    id: str
    etag: str
    product: _product_pb2.Product
    def __init__(self, kind: _Optional[_Union[ProductEventKind, str]] = ..., id: _Optional[str] = ..., etag: _Optional[str] = ..., product: _Optional[_Union[_product_pb2.Product, _Mapping]] = ...) -> None: ...
