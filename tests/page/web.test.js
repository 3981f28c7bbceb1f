// Calls of pages by gRPC-Web, with the client of clients/typescript in a real browser.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Server, launch } from './support.js';

const client = fileURLToPath(new URL('../../clients/typescript/src', import.meta.url));

let shop;
let stranger;
let server;
let browser;

before(async () => {
  const bundle = await build({
    stdin: { contents: 'import * as larder from "./browser.ts"; globalThis.larder = larder;', resolveDir: client },
    bundle: true,
    format: 'esm',
    write: false,
  });
  [shop, stranger] = await Promise.all([serve(bundle.outputFiles[0].text), serve(bundle.outputFiles[0].text)]);
  server = await Server.start({ LARDER_GRPC_WEB__ORIGINS: `https://other.example,${shop.origin}` });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
  shop?.close();
  stranger?.close();
});

/** Serves a page with the client, at an origin of its own. */
async function serve(bundle) {
  const site = http.createServer((request, response) => {
    const script = request.url === '/client.js';
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script ? bundle : '<!doctype html><title>shop</title><script type="module" src="/client.js"></script>');
  });
  await new Promise((done) => site.listen(0, '127.0.0.1', done));
  return { origin: `http://127.0.0.1:${site.address().port}`, close: () => site.close() };
}

/** Runs a function in a page of an origin. */
async function inPage(origin, body, id = '') {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(origin);
    await page.waitForFunction(() => globalThis.larder);
    return await page.evaluate(body, { url: `http://${server.addresses.catalog}`, id });
  } finally {
    await context.close();
  }
}

/** Sends a request over HTTP/1.1 to the catalogue. */
function send(address, { method = 'POST', headers = {}, body = '' }) {
  const [host, port] = address.split(':');
  const path = '/larder.catalog.v1.ProductCatalog/GetProduct';
  return new Promise((done, failed) => {
    const request = http.request({ host, port, method, path, headers, timeout: 10_000 }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => done({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }));
    });
    request.on('error', failed).on('timeout', () => request.destroy(new Error('no answer')));
    request.end(body);
  });
}

test('a page of a listed origin writes, reads, watches and understands errors', async () => {
  const told = await inPage(shop.origin, async ({ url }) => {
    const { connect, Session, details, watch } = globalThis.larder;
    const session = new Session();
    const catalog = connect(url, session.intercept);
    const price = { currencyCode: 'EUR', units: 12n };
    const created = await catalog.createProduct({ product: { id: 'from-a-page', name: 'Kettle', price } });
    let headers;
    const onHeader = (received) => {
      headers = received;
    };
    const got = await catalog.getProduct({ id: 'from-a-page' }, { onHeader });
    const refused = await catalog.createProduct({ product: { id: 'a b' } }).catch((error) => details(error));
    const missing = await catalog.getProduct({ id: 'no-such' }).catch((error) => error.code);
    await catalog.updateProduct({ product: { id: 'from-a-page', name: 'Iron kettle' } });
    let seen;
    for await (const { event } of watch(catalog, { startToken: created.token })) {
      if (event?.product?.name !== 'Iron kettle') continue;
      seen = event.id;
      break;
    }
    return {
      session: [...session.tokens].length,
      name: got.product.name,
      status: headers.get('x-cache-status'),
      id: headers.get('x-request-id'),
      reason: refused.reason,
      fields: [...refused.violations.keys()],
      missing,
      seen,
    };
  });
  assert.match(told.status, /^(HIT|MISS)$/);
  assert.match(told.id, /^[0-9a-f]{32}$/);
  assert.deepEqual(
    [told.session, told.name, told.reason, told.fields, told.missing, told.seen],
    [1, 'Kettle', 'INVALID_REQUEST', ['product.id', 'product.name'], 5, 'from-a-page'],
  );
});

test('a page of another origin reads nothing and writes nothing', async () => {
  const failed = await inPage(stranger.origin, async ({ url }) => {
    const catalog = globalThis.larder.connect(url);
    const calls = [catalog.createProduct({ product: { id: 'stranger', name: 'Kettle' } }), catalog.getProduct({ id: 'x' })];
    return (await Promise.allSettled(calls)).map(({ status }) => status);
  });
  assert.deepEqual(failed, ['rejected', 'rejected']);
  await assert.rejects(server.larder('get', 'stranger'), /no product/);
  // Without the browser's help, too.
  const headers = { 'content-type': 'application/grpc-web+proto', origin: stranger.origin };
  assert.equal((await send(server.addresses.catalog, { headers })).status, 403);
});

test('a browser is told what a page may do', async () => {
  const preflight = (origin) => {
    const headers = { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-larder-token' };
    return send(server.addresses.catalog, { method: 'OPTIONS', headers });
  };
  const allowed = await preflight(shop.origin);
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers['access-control-allow-origin'], shop.origin);
  assert.match(allowed.headers['access-control-allow-headers'], /x-larder-token/);
  assert.equal(allowed.headers.vary, 'origin');
  const refused = await preflight(stranger.origin);
  assert.equal(refused.headers['access-control-allow-origin'], undefined);
});

test('HTTP/1.1 carries gRPC-Web alone', async () => {
  const call = Buffer.from([0, 0, 0, 0, 3, 10, 1, 120]);
  const asked = (type) => send(server.addresses.catalog, { headers: { 'content-type': type }, body: call });
  const reply = await asked('application/grpc-web+proto');
  assert.equal(reply.status, 200);
  assert.equal(reply.headers['content-type'], 'application/grpc-web+proto');
  assert.equal(reply.headers['grpc-status'], '5');
  assert.equal((await asked('application/grpc')).status, 415);
  assert.equal((await asked('application/grpc-web-text')).status, 415);
  assert.equal((await send(server.addresses.catalog, { method: 'GET' })).status, 405);
});

test('without origins the port speaks gRPC alone', async () => {
  const plain = await Server.start();
  const headers = { 'content-type': 'application/grpc-web+proto' };
  await assert.rejects(send(plain.addresses.catalog, { headers }));
  assert.equal(await plain.stop(), 0);
});
