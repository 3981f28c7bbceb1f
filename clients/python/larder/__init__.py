"""A client of Larder, a gRPC cache for product catalogues."""

from larder.channel import connect, secured
from larder.errors import Details, details
from larder.session import Session
from larder.watch import watch

__all__ = ["Details", "Session", "connect", "details", "secured", "watch"]
