import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CacheTier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CACHE_TIER_UNSPECIFIED: _ClassVar[CacheTier]
    CACHE_TIER_L1: _ClassVar[CacheTier]
    CACHE_TIER_L2: _ClassVar[CacheTier]
    CACHE_TIER_DATABASE: _ClassVar[CacheTier]
CACHE_TIER_UNSPECIFIED: CacheTier
CACHE_TIER_L1: CacheTier
CACHE_TIER_L2: CacheTier
CACHE_TIER_DATABASE: CacheTier

class ReadOptions(_message.Message):
    __slots__ = ("minimize_latency", "at_least_as_fresh", "fully_consistent", "max_stale", "cache_only", "same_snapshot")
    MINIMIZE_LATENCY_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_AS_FRESH_FIELD_NUMBER: _ClassVar[int]
    FULLY_CONSISTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_STALE_FIELD_NUMBER: _ClassVar[int]
    CACHE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SAME_SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    minimize_latency: bool
    at_least_as_fresh: str
    fully_consistent: bool
    max_stale: _duration_pb2.Duration
    cache_only: bool
    same_snapshot: bool
    def __init__(self, minimize_latency: _Optional[bool] = ..., at_least_as_fresh: _Optional[str] = ..., fully_consistent: _Optional[bool] = ..., max_stale: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cache_only: _Optional[bool] = ..., same_snapshot: _Optional[bool] = ...) -> None: ...

class CacheInfo(_message.Message):
    __slots__ = ("tier", "stale", "age", "ttl")
    TIER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    tier: CacheTier
    stale: bool
    age: _duration_pb2.Duration
    ttl: _duration_pb2.Duration
    def __init__(self, tier: _Optional[_Union[CacheTier, str]] = ..., stale: _Optional[bool] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CacheCounts(_message.Message):
    __slots__ = ("l1", "l2", "database")
    L1_FIELD_NUMBER: _ClassVar[int]
    L2_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    l1: int
    l2: int
    database: int
    def __init__(self, l1: _Optional[int] = ..., l2: _Optional[int] = ..., database: _Optional[int] = ...) -> None: ...
