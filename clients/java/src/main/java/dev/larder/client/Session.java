package dev.larder.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Shows one user their own writes, whichever replica answers.
 *
 * <p>Replies to writes name their commits in a header, and every call of the session returns those names. A write replaces the
 * tokens that the session had when the write began, because its commit came after theirs. Writes that overlap keep a token each.
 */
public final class Session implements ClientInterceptor {
  private static final Metadata.Key<String> TOKEN =
      Metadata.Key.of("x-larder-token", Metadata.ASCII_STRING_MARSHALLER);

  private final AtomicReference<Set<String>> tokens = new AtomicReference<>(Set.of());

  /** What another process needs to continue the session with {@link #add}. */
  public Set<String> tokens() {
    return tokens.get();
  }

  /** Makes the session show further commits, such as those of an import. */
  public void add(Set<String> more) {
    replace(Set.of(), more);
  }

  @Override
  public <Q, R> ClientCall<Q, R> interceptCall(
      MethodDescriptor<Q, R> method, CallOptions options, Channel next) {
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<R> listener, Metadata headers) {
        Set<String> sent = tokens.get();
        sent.forEach(token -> headers.put(TOKEN, token));
        super.start(new TokenListener<>(listener, sent), headers);
      }
    };
  }

  private void replace(Set<String> old, Set<String> fresh) {
    tokens.updateAndGet(
        current -> {
          Set<String> kept = new HashSet<>(current);
          kept.removeAll(old);
          kept.addAll(fresh);
          return Set.copyOf(kept);
        });
  }

  private final class TokenListener<R> extends SimpleForwardingClientCallListener<R> {
    private final Set<String> sent;
    private final Set<String> fresh = new HashSet<>();

    TokenListener(ClientCall.Listener<R> listener, Set<String> sent) {
      super(listener);
      this.sent = sent;
    }

    @Override
    public void onHeaders(Metadata headers) {
      Iterable<String> received = headers.getAll(TOKEN);
      if (received != null) {
        received.forEach(fresh::add);
      }
      super.onHeaders(headers);
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      if (status.isOk() && !fresh.isEmpty()) {
        replace(sent, fresh);
      } else if (Details.of(status, trailers).reason().startsWith("TOKEN_")) {
        replace(sent, Set.of()); // A database that was restored to an earlier state no longer has these commits.
      }
      super.onClose(status, trailers);
    }
  }
}
