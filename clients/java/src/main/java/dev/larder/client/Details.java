package dev.larder.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What an error of Larder says besides its code.
 *
 * @param reason names the cause, for programs
 * @param violations the rule that each wrong field breaks
 * @param retryAfter when to try again, if the error says so
 */
public record Details(String reason, Map<String, String> violations, Optional<Duration> retryAfter) {
  /** Decodes the details of an error. They are empty if the error did not come from Larder. */
  public static Details of(StatusRuntimeException error) {
    return of(error.getStatus(), error.getTrailers());
  }

  static Details of(Status status, Metadata trailers) {
    String reason = "";
    Map<String, String> violations = new LinkedHashMap<>();
    Optional<Duration> retryAfter = Optional.empty();
    try {
      for (Any detail : StatusProto.fromStatusAndTrailers(status, trailers).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          reason = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(BadRequest.class)) {
          for (var violation : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            violations.put(violation.getField(), violation.getDescription());
          }
        } else if (detail.is(RetryInfo.class)) {
          var delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryAfter = Optional.of(Duration.ofSeconds(delay.getSeconds(), delay.getNanos()));
        }
      }
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalArgumentException(e);
    }
    return new Details(reason, violations, retryAfter);
  }
}
