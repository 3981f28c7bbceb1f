package dev.larder.client;

import com.google.gson.Gson;
import io.grpc.ClientInterceptor;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** Connections to Larder. */
public final class Larder {
  /** Retries of idempotent calls, a limit on them, deadlines, and round_robin. */
  private static final Map<String, ?> SERVICE_CONFIG = serviceConfig();

  private Larder() {}

  /** Returns a channel to all replicas behind a name, such as {@code dns:///larder-headless:50051}. */
  public static ManagedChannel connect(String target, ClientInterceptor... interceptors) {
    return ManagedChannelBuilder.forTarget(target)
        .usePlaintext()
        .defaultServiceConfig(SERVICE_CONFIG)
        // Notices a dead replica while a stream is open.
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .intercept(interceptors)
        .build();
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
