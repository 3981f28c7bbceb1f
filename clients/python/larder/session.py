"""Sessions, whose reads show their own writes."""

import threading

import grpc

from larder.errors import details

HEADER = "x-larder-token"


class Session(grpc.UnaryUnaryClientInterceptor):
    """Shows one user their own writes, whichever replica answers.

    Replies to writes name their commits in a header, and every call of the session returns those names. A write replaces the
    tokens that the session had when the write began, because its commit came after theirs. Writes that overlap keep a token each.
    """

    def __init__(self, tokens=()):
        self.tokens = frozenset(tokens)
        self._lock = threading.Lock()

    def intercept_unary_unary(self, continuation, call_details, request):
        sent = self.tokens
        call = continuation(_WithTokens(call_details, sent), request)
        call.add_done_callback(lambda done: self._note(done, sent))
        return call

    def add(self, *tokens):
        """Makes the session show further commits, such as those of an import."""
        self._replace(set(), set(tokens))

    def _note(self, call, sent):
        if call.code() == grpc.StatusCode.OK:
            new = {value for name, value in call.initial_metadata() or () if name == HEADER}
            superseded = sent if new else set()
        else:
            # A database that was restored to an earlier state no longer has these commits.
            new, superseded = set(), sent if details(call).reason.startswith("TOKEN_") else set()
        self._replace(superseded, new)

    def _replace(self, old, new):
        with self._lock:
            self.tokens = self.tokens - old | new


class _WithTokens(grpc.ClientCallDetails):
    def __init__(self, call, tokens):
        self.method, self.timeout, self.credentials = call.method, call.timeout, call.credentials
        self.wait_for_ready, self.compression = call.wait_for_ready, call.compression
        self.metadata = [*(call.metadata or ()), *((HEADER, token) for token in tokens)]
