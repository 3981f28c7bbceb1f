"""What an error of Larder says besides its code."""

from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Details:
    """The reason of an error, the fields that are wrong, and when to try again."""

    reason: str = ""
    violations: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None


def details(error: grpc.Call) -> Details:
    """Decodes the details of a failed call. They are empty if the error did not come from Larder."""
    found = Details()
    status = rpc_status.from_call(error)
    for packed in status.details if status else ():
        info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            found.reason = info.reason
        elif packed.Unpack(request):
            found.violations = {violation.field: violation.description for violation in request.field_violations}
        elif packed.Unpack(retry):
            found.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return found
