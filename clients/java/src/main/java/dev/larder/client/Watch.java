package dev.larder.client;

import dev.larder.catalog.v1.ProductCatalogGrpc.ProductCatalogBlockingStub;
import dev.larder.catalog.v1.WatchProductsRequest;
import dev.larder.catalog.v1.WatchProductsResponse;
import io.grpc.Context;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Predicate;

/** Follows changes across lost connections. */
public final class Watch {
  private static final long FIRST_DELAY_MILLIS = 100;
  private static final long LONGEST_DELAY_MILLIS = 10_000;

  /** The connection or the replica has gone, or the replica has no room for another stream. */
  private static final Set<Status.Code> RESUMABLE =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.RESOURCE_EXHAUSTED);

  private Watch() {}

  /** Passes every change on once, until {@code next} returns false. A lost stream resumes from its last token, on any replica. */
  public static void follow(
      ProductCatalogBlockingStub catalog, WatchProductsRequest start, Predicate<WatchProductsResponse> next)
      throws InterruptedException {
    WatchProductsRequest request = start;
    long delay = FIRST_DELAY_MILLIS;
    while (true) {
      Context.CancellableContext context = Context.current().withCancellation();
      Context previous = context.attach();
      try {
        Iterator<WatchProductsResponse> messages = catalog.watchProducts(request);
        while (messages.hasNext()) {
          WatchProductsResponse message = messages.next();
          request = request.toBuilder().setStartToken(message.getToken()).build();
          delay = FIRST_DELAY_MILLIS;
          if (!next.test(message)) {
            return;
          }
        }
      } catch (StatusRuntimeException e) {
        if (!RESUMABLE.contains(e.getStatus().getCode())) {
          throw e;
        }
      } finally {
        context.detachAndCancel(previous, null);
      }
      // Full jitter: many watchers of one replica do not return at the same moment.
      Thread.sleep(ThreadLocalRandom.current().nextLong(delay));
      delay = Math.min(2 * delay, LONGEST_DELAY_MILLIS);
    }
  }
}
