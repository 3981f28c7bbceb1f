// Sessions, whose reads show their own writes.

import { ConnectError, type Interceptor } from "@connectrpc/connect";
import { details } from "./errors.js";

const HEADER = "x-larder-token";

/**
 * Shows one user their own writes, whichever replica answers: pass `session.intercept` to `connect`.
 *
 * Replies to writes name their commits in a header, and every call of the session returns those names. A write replaces the
 * tokens that the session had when the write began, because its commit came after theirs. Writes that overlap keep a token each.
 */
export class Session {
  tokens: ReadonlySet<string>;

  constructor(tokens: Iterable<string> = []) {
    this.tokens = new Set(tokens);
  }

  readonly intercept: Interceptor = (next) => async (request) => {
    if (request.stream) return next(request);
    const sent = this.tokens;
    for (const token of sent) request.header.append(HEADER, token);
    try {
      const reply = await next(request);
      const fresh = reply.header.get(HEADER);
      if (fresh) this.replace(sent, fresh.split(", "));
      return reply;
    } catch (error) {
      // A database that was restored to an earlier state no longer has these commits.
      if (details(ConnectError.from(error)).reason.startsWith("TOKEN_")) this.replace(sent, []);
      throw error;
    }
  };

  /** Makes the session show further commits, such as those of an import. */
  add(...tokens: string[]): void {
    this.replace(new Set(), tokens);
  }

  private replace(old: ReadonlySet<string>, fresh: string[]): void {
    this.tokens = new Set([...[...this.tokens].filter((token) => !old.has(token)), ...fresh]);
  }
}
