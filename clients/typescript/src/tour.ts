// Every call of Larder once, to copy from: `npm start -- HOST:PORT HOST:PORT`, two replicas of one catalogue.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Code, ConnectError } from "@connectrpc/connect";
import { connect, details, secured, Session, watch, type Catalog, type Target } from "./index.js";
import type { Product } from "./gen/larder/catalog/v1/product_pb.js";

/** Every write acknowledged before. */
const FRESHEST = { consistency: { case: "fullyConsistent", value: true } } as const;

async function main(first: string, second: string): Promise<void> {
  // In a cluster one client calls all replicas: connect("dns:///larder-headless:50051").
  const catalog = connect(target(first));
  const replica = connect(target(second));
  try {
    const product = await create(catalog);
    await readMetadata(catalog, product);
    await update(catalog, product);
    await lists(catalog, product);
    await errors(catalog);
    await readYourWrites(catalog, replica, product);
    await withSession(first, second, product);
    await follow(catalog, replica, product);
    await catalog.deleteProduct({ id: product.id }, { timeoutMs: 30_000 });
    console.log("delete: ok");
  } finally {
    catalog[Symbol.dispose]();
    replica[Symbol.dispose]();
  }
}

/** A server with TLS and tokens: LARDER_CA names its authorities, LARDER_TOKEN_FILE your token. */
function target(address: string): string | Target {
  const { LARDER_CA, LARDER_TOKEN_FILE } = process.env;
  if (LARDER_CA === undefined) return address;
  const ca = readFileSync(LARDER_CA);
  const token = readFileSync(LARDER_TOKEN_FILE!, "utf8").trim();
  return { address, credentials: secured({ ca, token }) }; // What connect takes in the place of an address.
}

async function create(catalog: Catalog): Promise<Product> {
  const request = {
    product: {
      id: `typescript-${randomUUID()}`,
      name: "Copper kettle",
      price: { currencyCode: "EUR", units: 12n, nanos: 500_000_000 },
      tags: ["typescript"],
    },
    // Makes it safe to repeat the call, so that the channel may retry it.
    requestId: randomUUID(),
  };
  const { product } = await catalog.createProduct(request, { timeoutMs: 30_000 });
  assert.deepEqual((await catalog.createProduct(request, { timeoutMs: 30_000 })).product, product);
  console.log("create:", product!.id);
  return product!;
}

async function readMetadata(catalog: Catalog, product: Product): Promise<void> {
  // OpenTelemetry's instrumentation of gRPC adds traceparent by itself.
  const traceparent = `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`;
  let headers = new Headers();
  const got = await catalog.getProduct(
    { id: product.id },
    { timeoutMs: 30_000, headers: { traceparent, "x-cache-debug": "1" }, onHeader: (received) => (headers = received) },
  );
  assert.deepEqual(got.product, product);
  assert.ok(["HIT", "MISS"].includes(headers.get("x-cache-status")!) && headers.get("x-request-id"));
  console.log("get:", headers.get("x-cache-status"), "from", headers.get("x-cache-tier"));
  console.log("traceparent:", traceparent);
}

async function update(catalog: Catalog, product: Product): Promise<void> {
  const change = {
    product: { id: product.id, inStock: true, etag: product.etag },
    updateMask: { paths: ["in_stock"] },
    requestId: randomUUID(),
  };
  const updated = (await catalog.updateProduct(change, { timeoutMs: 30_000 })).product!;
  assert.ok(updated.inStock && updated.name === product.name);
  // Somebody else changes the product with the etag of before: read it again, and decide anew.
  const conflict = await failure(catalog.updateProduct({ ...change, requestId: randomUUID() }, { timeoutMs: 30_000 }));
  assert.equal(conflict.code, Code.Aborted);
  assert.equal(details(conflict).reason, "ETAG_MISMATCH");
  console.log("update: ok, and a conflict is told");
}

async function lists(catalog: Catalog, product: Product): Promise<void> {
  const seen = new Set<string>();
  let pages = 0;
  for (let pageToken = ""; pages === 0 || pageToken !== ""; pages++) {
    const request = { orderBy: "price desc", pageSize: 20, pageToken, read: FRESHEST };
    const page = await catalog.listProducts(request, { timeoutMs: 30_000 });
    for (const found of page.products) seen.add(found.id);
    pageToken = page.nextPageToken;
  }
  assert.ok(seen.has(product.id) && pages > 1);
  const ids = [product.id, "no-such"];
  const batch = await catalog.batchGetProducts({ ids, read: FRESHEST }, { timeoutMs: 30_000 });
  assert.deepEqual([batch.products.map(({ id }) => id), batch.missingIds], [[product.id], ["no-such"]]);
  const search = { query: "copper kettle", filter: { tag: "typescript" }, read: FRESHEST };
  const found = await catalog.searchProducts(search, { timeoutMs: 30_000 });
  assert.ok(found.products.some(({ id }) => id === product.id));
  console.log(`list: ${seen.size} products on ${pages} pages; batch and search: ok`);
}

async function errors(catalog: Catalog): Promise<void> {
  const error = await failure(catalog.createProduct({ product: { id: "a b" } }, { timeoutMs: 30_000 }));
  const { reason, violations, retryAfterMs } = details(error);
  assert.deepEqual([error.code, reason], [Code.InvalidArgument, "INVALID_REQUEST"]);
  assert.ok(violations.has("product.id") && violations.has("product.name"));
  // Errors that pass, such as an overload, say when to try again.
  assert.equal(retryAfterMs, undefined);
  console.log("error:", reason, violations);
}

async function readYourWrites(catalog: Catalog, replica: Catalog, product: Product): Promise<void> {
  const token = await rename(catalog, product, "Steel kettle");
  const read = { consistency: { case: "atLeastAsFresh", value: token } } as const;
  const got = await replica.getProduct({ id: product.id, read }, { timeoutMs: 30_000 });
  assert.equal(got.product!.name, "Steel kettle");
  console.log("read your writes: ok");
}

async function withSession(first: string, second: string, product: Product): Promise<void> {
  const session = new Session(); // One for each user.
  const [catalog, replica] = [connect(target(first), session.intercept), connect(target(second), session.intercept)];
  for (const name of ["Iron kettle", "Glass kettle"]) {
    await rename(catalog, product, name);
    assert.equal((await replica.getProduct({ id: product.id }, { timeoutMs: 30_000 })).product!.name, name);
  }
  // A token of a database that is no more. The error says so once, and the session goes on without it.
  session.add("AhoJW8_d-j45AAAAAAAAAALHeehTpHEDTgAAAAAAAAAD9XhZyXs9Q3U");
  const lost = await failure(catalog.getProduct({ id: product.id }, { timeoutMs: 30_000 }));
  assert.match(details(lost).reason, /^TOKEN_/);
  await catalog.getProduct({ id: product.id }, { timeoutMs: 30_000 });
  catalog[Symbol.dispose]();
  replica[Symbol.dispose]();
  console.log("session: ok");
}

async function follow(catalog: Catalog, replica: Catalog, product: Product): Promise<void> {
  let startToken = await rename(catalog, product, "Before the watch");
  // Another replica goes on where the first one stopped.
  for (const [number, watched] of [catalog, replica].entries()) {
    await rename(catalog, product, `Kettle ${number}`);
    for await (const { token, event } of watch(watched, { startToken })) {
      if (event?.id !== product.id) continue;
      assert.equal(event.product!.name, `Kettle ${number}`);
      startToken = token;
      break;
    }
  }
  console.log("watch: ok, and resumed on the other replica");
}

async function rename(catalog: Catalog, product: Product, name: string): Promise<string> {
  const change = { product: { id: product.id, name }, requestId: randomUUID() };
  return (await catalog.updateProduct(change, { timeoutMs: 30_000 })).token;
}

async function failure(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(() => undefined, ConnectError.from);
  assert.ok(error, "the call must fail");
  return error;
}

const [first, second] = process.argv.slice(2);
assert.ok(first && second, "usage: npm start -- HOST:PORT HOST:PORT");
await main(first, second);
