// Channels of grpc-js, which knows service configs, behind the clients of Connect, whose interceptors work in browsers too.

import {
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethod,
  type DescMethodStreaming,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import {
  Code,
  ConnectError,
  createClient,
  createContextValues,
  type Client,
  type Interceptor,
  type StreamResponse,
  type Transport,
  type UnaryResponse,
} from "@connectrpc/connect";
import { runStreamingCall, runUnaryCall } from "@connectrpc/connect/protocol";
import * as grpc from "@grpc/grpc-js";
import { ProductCatalog } from "./gen/larder/catalog/v1/product_catalog_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import serviceConfig from "./gen/service_config.json" with { type: "json" };

/** The calls of the catalogue. */
export type Catalog = Client<typeof ProductCatalog>;

/** Where replicas are, and the credentials for them. */
export interface Target {
  address: string;
  credentials: grpc.ChannelCredentials;
}

/**
 * Returns a client of all replicas behind a name, such as `dns:///larder-headless:50051`. Without credentials, which `secured` makes,
 * it speaks plain text.
 */
export function connect(target: string | Target, ...interceptors: Interceptor[]): Catalog & Disposable {
  const plain = (address: string): Target => ({ address, credentials: grpc.credentials.createInsecure() });
  const { address, credentials } = typeof target === "string" ? plain(target) : target;
  const channel = new grpc.Client(address, credentials, {
    // Retries of idempotent calls, a limit on them, deadlines, and round_robin.
    "grpc.service_config": JSON.stringify(serviceConfig),
    // Notices a dead replica while a stream is open.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  const catalog = createClient(ProductCatalog, new GrpcTransport(channel, interceptors));
  return Object.assign(catalog, { [Symbol.dispose]: () => channel.close() });
}

/** TLS by the authorities in `ca`, in PEM, or by the public ones, and a token that goes with every call. */
export function secured({ ca, token }: { ca?: Buffer; token?: string }): grpc.ChannelCredentials {
  const tls = grpc.credentials.createSsl(ca ?? null);
  if (token === undefined) return tls;
  const bearer = grpc.credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${token}`);
    done(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(tls, bearer);
}

class GrpcTransport implements Transport {
  constructor(
    private readonly channel: grpc.Client,
    private readonly interceptors: Interceptor[],
  ) {}

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    message: MessageInitShape<I>,
    contextValues = createContextValues(),
  ): Promise<UnaryResponse<I, O>> {
    const common = { service: method.parent, url: path(method), requestMethod: "POST", header: new Headers(header) };
    return runUnaryCall<I, O>({
      interceptors: this.interceptors,
      signal,
      timeoutMs,
      req: { ...common, stream: false, method, contextValues, message },
      next: (request) =>
        new Promise((resolve, reject) => {
          const answer = { header: new Headers(), trailer: new Headers() };
          const call = this.channel.makeUnaryRequest(
            path(method),
            (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
            (bytes) => fromBinary(method.output, bytes),
            request.message,
            metadata(request.header),
            deadline(timeoutMs),
            (error, message) => {
              if (error) reject(connectError(error));
              else resolve({ ...answer, stream: false, service: method.parent, method, message: message! });
            },
          );
          call.on("metadata", (received: grpc.Metadata) => copy(received, answer.header));
          call.on("status", (status: grpc.StatusObject) => copy(status.metadata, answer.trailer));
          request.signal.addEventListener("abort", () => call.cancel());
        }),
    });
  }

  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    message: AsyncIterable<MessageInitShape<I>>,
    contextValues = createContextValues(),
  ): Promise<StreamResponse<I, O>> {
    const common = { service: method.parent, url: path(method), requestMethod: "POST", header: new Headers(header) };
    return runStreamingCall<I, O>({
      interceptors: this.interceptors,
      signal,
      timeoutMs,
      req: { ...common, stream: true, method, contextValues, message },
      next: async (request) => {
        const call = this.channel.makeBidiStreamRequest(
          path(method),
          (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
          (bytes) => fromBinary(method.output, bytes),
          metadata(request.header),
          deadline(timeoutMs),
        );
        request.signal.addEventListener("abort", () => call.cancel());
        const answer = { header: new Headers(), trailer: new Headers() };
        call.on("metadata", (received: grpc.Metadata) => copy(received, answer.header));
        call.on("status", (status: grpc.StatusObject) => copy(status.metadata, answer.trailer));
        void send(call, request.message);
        return { ...answer, stream: true, service: method.parent, method, message: received(call) };
      },
    });
  }
}

/** Sends the messages of a stream, no faster than the server takes them. */
async function send<T>(call: grpc.ClientDuplexStream<T, unknown>, messages: AsyncIterable<T>): Promise<void> {
  try {
    for await (const message of messages) {
      if (call.destroyed) return;
      if (!call.write(message)) await Promise.race(["drain", "close"].map((event) => once(call, event)));
    }
    call.end();
  } catch {
    call.cancel();
  }
}

const once = (call: NodeJS.EventEmitter, event: string) => new Promise((resolve) => call.once(event, resolve));

async function* received<T>(call: grpc.ClientReadableStream<T>): AsyncIterable<T> {
  try {
    yield* call as AsyncIterable<T>;
  } catch (error) {
    throw connectError(error as grpc.ServiceError);
  } finally {
    call.cancel();
  }
}

const path = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;

const deadline = (timeoutMs: number | undefined): grpc.CallOptions =>
  timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };

function metadata(header: Headers): grpc.Metadata {
  const metadata = new grpc.Metadata();
  header.forEach((value, name) => metadata.add(name, value));
  return metadata;
}

function copy(metadata: grpc.Metadata, header: Headers): void {
  for (const [name, value] of Object.entries(metadata.toHttp2Headers())) {
    for (const one of [value].flat()) header.append(name, String(one));
  }
}

/** An error of Connect, with the details that Larder sent. */
function connectError(error: grpc.ServiceError): ConnectError {
  const failed = new ConnectError(error.details ?? error.message, error.code as number as Code);
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (packed instanceof Uint8Array) {
    failed.details = fromBinary(StatusSchema, packed).details.map(({ typeUrl, value }) => ({
      type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
      value,
    }));
  }
  return failed;
}
