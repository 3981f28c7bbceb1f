package dev.larder.examples;

import dev.larder.catalog.v1.CreateProductRequest;
import dev.larder.catalog.v1.GetProductRequest;
import dev.larder.catalog.v1.Product;
import dev.larder.catalog.v1.ProductCatalogGrpc;
import dev.larder.catalog.v1.UpdateProductRequest;
import dev.larder.client.Larder;
import dev.larder.client.Session;
import io.grpc.ManagedChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Writes on one replica and reads each write at once on the other. The arguments are HOST:PORT HOST:PORT COUNT. */
public final class SessionCheck {
  private static final int USERS = 16;

  public static void main(String[] arguments) throws InterruptedException, ExecutionException {
    int count = Integer.parseInt(arguments[2]);
    ExecutorService pool = Executors.newFixedThreadPool(USERS);
    List<Callable<Integer>> shares = new ArrayList<>();
    for (int user = 0; user < USERS; user++) {
      int share = user;
      shares.add(() -> oneUser(arguments, share, count));
    }
    int right = 0;
    for (Future<Integer> done : pool.invokeAll(shares)) {
      right += done.get();
    }
    pool.shutdown();
    System.out.printf("session: %d of %d reads show the write before them%n", right, count);
    System.exit(right == count ? 0 : 1);
  }

  /** The share of one user, who always makes two writes at once. Returns how many reads were right. */
  private static int oneUser(String[] addresses, int user, int count) throws InterruptedException, ExecutionException {
    Session session = new Session();
    var channels = List.of(Larder.connect(addresses[0], session), Larder.connect(addresses[1], session));
    var products = List.of("session-java-" + UUID.randomUUID(), "session-java-" + UUID.randomUUID());
    for (String id : products) {
      var product = Product.newBuilder().setId(id).setName("new");
      var request = CreateProductRequest.newBuilder().setProduct(product).setRequestId(UUID.randomUUID().toString());
      ProductCatalogGrpc.newBlockingStub(channels.get(0)).createProduct(request.build());
    }
    int right = 0;
    for (int number = user; number < count / 2; number += USERS) {
      int turn = number / USERS % 2;
      String name = Integer.toString(number);
      var writer = ProductCatalogGrpc.newFutureStub(channels.get(turn)).withDeadlineAfter(30, TimeUnit.SECONDS);
      var writes =
          products.stream()
              .map(id -> Product.newBuilder().setId(id).setName(name))
              .map(UpdateProductRequest.newBuilder()::setProduct)
              .map(update -> writer.updateProduct(update.setRequestId(UUID.randomUUID().toString()).build()))
              .toList();
      for (var write : writes) {
        write.get();
      }
      var reader = ProductCatalogGrpc.newBlockingStub(channels.get(1 - turn)).withDeadlineAfter(30, TimeUnit.SECONDS);
      for (String id : products) {
        var got = reader.getProduct(GetProductRequest.newBuilder().setId(id).build()).getProduct();
        right += got.getName().equals(name) ? 1 : 0;
      }
    }
    channels.forEach(ManagedChannel::shutdown);
    return right;
  }
}
