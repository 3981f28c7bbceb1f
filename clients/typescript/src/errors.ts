// What an error of Larder says besides its code.

import type { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

export interface Details {
  /** Names the cause, for programs. */
  reason: string;
  /** The rule that each wrong field breaks. */
  violations: Map<string, string>;
  /** When to try again, if the error says so. */
  retryAfterMs?: number;
}

/** Decodes the details of an error. They are empty if the error did not come from Larder. */
export function details(error: ConnectError): Details {
  const fields = error.findDetails(BadRequestSchema).flatMap((request) => request.fieldViolations);
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    reason: error.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    violations: new Map(fields.map(({ field, description }) => [field, description])),
    retryAfterMs: delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6,
  };
}
