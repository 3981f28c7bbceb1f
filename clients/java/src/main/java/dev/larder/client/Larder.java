package dev.larder.client;

import com.google.gson.Gson;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.CompositeChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** Connections to Larder. */
public final class Larder {
  /** Retries of idempotent calls, a limit on them, deadlines, and round_robin. */
  private static final Map<String, ?> SERVICE_CONFIG = serviceConfig();

  private Larder() {}

  /** Returns a channel in plain text to all replicas behind a name, such as {@code dns:///larder-headless:50051}. */
  public static ManagedChannel connect(String target, ClientInterceptor... interceptors) {
    return connect(target, InsecureChannelCredentials.create(), interceptors);
  }

  /** Returns a channel with credentials, as {@link #secured} makes them. */
  public static ManagedChannel connect(
      String target, ChannelCredentials credentials, ClientInterceptor... interceptors) {
    return Grpc.newChannelBuilder(target, credentials)
        .defaultServiceConfig(SERVICE_CONFIG)
        // Notices a dead replica while a stream is open.
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .intercept(interceptors)
        .build();
  }

  /** TLS by the authorities in a file, in PEM, and a token that goes with every call. */
  public static ChannelCredentials secured(File ca, String token) throws IOException {
    return CompositeChannelCredentials.create(
        TlsChannelCredentials.newBuilder().trustManager(ca).build(), new Bearer(token));
  }

  private static final class Bearer extends CallCredentials {
    private static final Metadata.Key<String> AUTHORIZATION =
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private final String token;

    Bearer(String token) {
      this.token = token;
    }

    @Override
    public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
      Metadata headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + token);
      applier.apply(headers);
    }
  }

  @SuppressWarnings("unchecked")
  private static Map<String, ?> serviceConfig() {
    var stream = Objects.requireNonNull(Larder.class.getResourceAsStream("/service_config.json"));
    try (Reader reader = new InputStreamReader(stream, StandardCharsets.UTF_8)) {
      return new Gson().fromJson(reader, Map.class);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
