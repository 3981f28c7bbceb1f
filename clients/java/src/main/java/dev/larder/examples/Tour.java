package dev.larder.examples;

import com.google.protobuf.FieldMask;
import com.google.type.Money;
import dev.larder.catalog.v1.BatchGetProductsRequest;
import dev.larder.catalog.v1.CreateProductRequest;
import dev.larder.catalog.v1.DeleteProductRequest;
import dev.larder.catalog.v1.GetProductRequest;
import dev.larder.catalog.v1.ListProductsRequest;
import dev.larder.catalog.v1.Product;
import dev.larder.catalog.v1.ProductCatalogGrpc;
import dev.larder.catalog.v1.ProductCatalogGrpc.ProductCatalogBlockingStub;
import dev.larder.catalog.v1.ProductFilter;
import dev.larder.catalog.v1.ReadOptions;
import dev.larder.catalog.v1.SearchProductsRequest;
import dev.larder.catalog.v1.UpdateProductRequest;
import dev.larder.catalog.v1.WatchProductsRequest;
import dev.larder.client.Details;
import dev.larder.client.Larder;
import dev.larder.client.Session;
import dev.larder.client.Watch;
import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;

/** Every call of Larder once, to copy from. The arguments are two replicas of one catalogue, each as HOST:PORT. */
public final class Tour {
  /** Every write acknowledged before. */
  private static final ReadOptions FRESHEST = ReadOptions.newBuilder().setFullyConsistent(true).build();

  private final ProductCatalogBlockingStub catalog;
  private final ProductCatalogBlockingStub replica;

  private Tour(ManagedChannel first, ManagedChannel second) {
    catalog = ProductCatalogGrpc.newBlockingStub(first);
    replica = ProductCatalogGrpc.newBlockingStub(second);
  }

  public static void main(String[] arguments) throws Exception {
    // In a cluster one channel leads to all replicas: Larder.connect("dns:///larder-headless:50051").
    ManagedChannel first = connect(arguments[0]);
    ManagedChannel second = connect(arguments[1]);
    Tour tour = new Tour(first, second);
    Product product = tour.create();
    tour.readMetadata(product);
    tour.update(product);
    tour.lists(product);
    tour.errors();
    tour.readYourWrites(product);
    withSession(arguments[0], arguments[1], product);
    tour.follow(product);
    soon(tour.catalog).deleteProduct(DeleteProductRequest.newBuilder().setId(product.getId()).build());
    System.out.println("delete: ok");
    first.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    second.shutdown().awaitTermination(5, TimeUnit.SECONDS);
  }

  private static ProductCatalogBlockingStub soon(ProductCatalogBlockingStub catalog) {
    return catalog.withDeadlineAfter(30, TimeUnit.SECONDS);
  }

  private Product create() {
    var price = Money.newBuilder().setCurrencyCode("EUR").setUnits(12).setNanos(500_000_000);
    var product =
        Product.newBuilder().setId("java-" + UUID.randomUUID()).setName("Copper kettle").setPrice(price).addTags("java");
    // The request id makes it safe to repeat the call, so that the channel may retry it.
    var request = CreateProductRequest.newBuilder().setProduct(product).setRequestId(uuid()).build();
    Product created = soon(catalog).createProduct(request).getProduct();
    check(soon(catalog).createProduct(request).getProduct().equals(created), "the repeated call gets the first reply");
    System.out.println("create: " + created.getId());
    return created;
  }

  private void readMetadata(Product product) {
    // OpenTelemetry's instrumentation of gRPC adds traceparent by itself.
    String traceparent = "00-" + hex(32) + "-" + hex(16) + "-01";
    Metadata sent = new Metadata();
    sent.put(header("traceparent"), traceparent);
    sent.put(header("x-cache-debug"), "1");
    var headers = new AtomicReference<Metadata>();
    ClientInterceptor attach = MetadataUtils.newAttachHeadersInterceptor(sent);
    ClientInterceptor capture = MetadataUtils.newCaptureMetadataInterceptor(headers, new AtomicReference<>());
    var got = soon(catalog).withInterceptors(attach, capture).getProduct(get(product).build());
    check(got.getProduct().equals(product), "the product is as it was created");
    String cache = headers.get().get(header("x-cache-status"));
    check(Set.of("HIT", "MISS").contains(cache), "the reply has metadata");
    System.out.println("get: " + cache + " from " + headers.get().get(header("x-cache-tier")));
    System.out.println("traceparent: " + traceparent);
  }

  private void update(Product product) {
    var change =
        UpdateProductRequest.newBuilder()
            .setProduct(Product.newBuilder().setId(product.getId()).setInStock(true).setEtag(product.getEtag()))
            .setUpdateMask(FieldMask.newBuilder().addPaths("in_stock"))
            .setRequestId(uuid());
    Product updated = soon(catalog).updateProduct(change.build()).getProduct();
    check(updated.getInStock() && updated.getName().equals(product.getName()), "one field changes");
    // Somebody else changes the product with the etag of before: read it again, and decide anew.
    StatusRuntimeException conflict =
        failure(() -> soon(catalog).updateProduct(change.setRequestId(uuid()).build()));
    check(conflict.getStatus().getCode() == Status.Code.ABORTED, "the conflict is told");
    check(Details.of(conflict).reason().equals("ETAG_MISMATCH"), "the reason is told");
    System.out.println("update: ok, and a conflict is told");
  }

  private void lists(Product product) {
    var request = ListProductsRequest.newBuilder().setOrderBy("price desc").setPageSize(20).setRead(FRESHEST);
    Set<String> seen = new HashSet<>();
    int pages = 0;
    do {
      var page = soon(catalog).listProducts(request.build());
      page.getProductsList().forEach(found -> seen.add(found.getId()));
      request.setPageToken(page.getNextPageToken());
      pages++;
    } while (!request.getPageToken().isEmpty());
    check(seen.contains(product.getId()) && pages > 1, "the list has the product");
    var ids = BatchGetProductsRequest.newBuilder().addIds(product.getId()).addIds("no-such").setRead(FRESHEST);
    var batch = soon(catalog).batchGetProducts(ids.build());
    boolean one = batch.getProductsCount() == 1 && batch.getMissingIdsList().equals(List.of("no-such"));
    check(one, "one product is missing");
    var search =
        SearchProductsRequest.newBuilder()
            .setQuery("copper kettle")
            .setFilter(ProductFilter.newBuilder().setTag("java"))
            .setRead(FRESHEST);
    var found = soon(catalog).searchProducts(search.build()).getProductsList();
    check(found.stream().anyMatch(other -> other.getId().equals(product.getId())), "the search finds the product");
    System.out.printf("list: %d products on %d pages; batch and search: ok%n", seen.size(), pages);
  }

  private void errors() {
    var wrong = CreateProductRequest.newBuilder().setProduct(Product.newBuilder().setId("a b"));
    StatusRuntimeException error = failure(() -> soon(catalog).createProduct(wrong.build()));
    Details details = Details.of(error);
    check(error.getStatus().getCode() == Status.Code.INVALID_ARGUMENT, "the request is refused");
    check(details.violations().keySet().containsAll(Set.of("product.id", "product.name")), "each field is named");
    // Errors that pass, such as an overload, say when to try again.
    check(details.retryAfter().isEmpty(), "trying again is of no use");
    System.out.println("error: " + details.reason() + " " + details.violations());
  }

  private void readYourWrites(Product product) {
    String token = rename(catalog, product, "Steel kettle");
    var read = ReadOptions.newBuilder().setAtLeastAsFresh(token);
    var got = soon(replica).getProduct(get(product).setRead(read).build()).getProduct();
    check(got.getName().equals("Steel kettle"), "the other replica shows the write");
    System.out.println("read your writes: ok");
  }

  private static ManagedChannel connect(String target, ClientInterceptor... interceptors) throws IOException {
    // A server with TLS and tokens: LARDER_CA names its authorities, LARDER_TOKEN_FILE your token.
    String ca = System.getenv("LARDER_CA");
    if (ca == null) {
      return Larder.connect(target, interceptors);
    }
    String token = Files.readString(Path.of(System.getenv("LARDER_TOKEN_FILE"))).strip();
    return Larder.connect(target, Larder.secured(new File(ca), token), interceptors);
  }

  private static void withSession(String first, String second, Product product) throws IOException {
    Session session = new Session(); // One for each user.
    ManagedChannel one = connect(first, session);
    ManagedChannel two = connect(second, session);
    for (String name : List.of("Iron kettle", "Glass kettle")) {
      rename(ProductCatalogGrpc.newBlockingStub(one), product, name);
      var got = soon(ProductCatalogGrpc.newBlockingStub(two)).getProduct(get(product).build()).getProduct();
      check(got.getName().equals(name), "the session shows its own write");
    }
    // A token of a database that is no more. The error says so once, and the session goes on without it.
    session.add(Set.of("AhoJW8_d-j45AAAAAAAAAALHeehTpHEDTgAAAAAAAAAD9XhZyXs9Q3U"));
    var catalog = ProductCatalogGrpc.newBlockingStub(one);
    var lost = failure(() -> soon(catalog).getProduct(get(product).build()));
    check(Details.of(lost).reason().startsWith("TOKEN_"), "the token is lost");
    soon(catalog).getProduct(get(product).build());
    one.shutdown();
    two.shutdown();
    System.out.println("session: ok");
  }

  private void follow(Product product) throws InterruptedException {
    var token = new AtomicReference<>(rename(catalog, product, "Before the watch"));
    // Another replica goes on where the first one stopped.
    for (var watched : List.of(catalog, replica)) {
      String name = "Kettle " + uuid();
      rename(catalog, product, name);
      var request = WatchProductsRequest.newBuilder().setStartToken(token.get()).build();
      Watch.follow(
          watched,
          request,
          message -> {
            token.set(message.getToken());
            if (!message.getEvent().getId().equals(product.getId())) {
              return true;
            }
            check(message.getEvent().getProduct().getName().equals(name), "the next change comes next");
            return false;
          });
    }
    System.out.println("watch: ok, and resumed on the other replica");
  }

  private static String rename(ProductCatalogBlockingStub catalog, Product product, String name) {
    var change = Product.newBuilder().setId(product.getId()).setName(name);
    var request = UpdateProductRequest.newBuilder().setProduct(change).setRequestId(uuid()).build();
    return soon(catalog).updateProduct(request).getToken();
  }

  private static GetProductRequest.Builder get(Product product) {
    return GetProductRequest.newBuilder().setId(product.getId());
  }

  private static StatusRuntimeException failure(Supplier<?> call) {
    try {
      call.get();
    } catch (StatusRuntimeException e) {
      return e;
    }
    throw new IllegalStateException("the call must fail");
  }

  private static Metadata.Key<String> header(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  private static String uuid() {
    return UUID.randomUUID().toString();
  }

  private static String hex(int digits) {
    return uuid().replace("-", "").substring(0, digits);
  }

  private static void check(boolean holds, String what) {
    if (!holds) {
      throw new IllegalStateException("not so: " + what);
    }
  }
}
