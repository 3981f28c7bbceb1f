// The page, as a person sees it and as another site might attack it.

import assert from 'node:assert/strict';
import http from 'node:http';
import { networkInterfaces } from 'node:os';
import { after, before, test } from 'node:test';
import { Server, launch, open, until, violations } from './support.js';

let server;
let browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the page for one test, which fails if the browser complains. */
function onPage(name, options, body) {
  test(name, async (context) => {
    const opened = await open(browser, server.url, options);
    try {
      await body(opened.page, opened, context);
      assert.deepEqual(opened.complaints, []);
    } finally {
      await opened.close();
    }
  });
}

/** The figures of the table of tiers, by name and tier; `null` where a tier has none. */
const tierFigures = (page) =>
  page.evaluate(() => {
    const table = document.querySelector('#tiers');
    const tiers = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
    return Object.fromEntries(
      [...table.tBodies[0].rows].map((row) => {
        const values = [...row.cells].slice(1).map((cell) => cell.querySelector('data')?.value ?? null);
        return [row.cells[0].textContent, Object.fromEntries(tiers.map((tier, number) => [tier, values[number]]))];
      }),
    );
  });

/** Sends a request that no browser would. */
function send({ method = 'GET', path = '/', headers = {}, body = '', host = '127.0.0.1' }) {
  return new Promise((done, failed) => {
    const request = http.request({ host, port: server.port, method, path, headers, timeout: 10_000 }, (response) => {
      let text = '';
      response.on('data', (part) => {
        text += part;
      });
      response.on('end', () => done({ status: response.statusCode, headers: response.headers, text }));
    });
    request
      .on('error', failed)
      .on('timeout', () => request.destroy(new Error('no answer')))
      .end(body);
  });
}

const json = { 'content-type': 'application/json' };

onPage('figures equal those of GetStats', {}, async (page) => {
  for (let round = 0; round < 3; round += 1) await server.larder('get', 'copper-saucepan-18cm');
  await server.larder('search', 'copper');
  await until(async () => {
    const [stats] = JSON.parse(await server.larder('stats', '--json')).replicas;
    const shown = await tierFigures(page);
    const fields = {
      Requests: 'requests',
      Hits: 'hits',
      Misses: 'misses',
      Errors: 'errors',
      Entries: 'entries',
      Bytes: 'bytes',
      'of at most': 'capacityBytes',
      Stored: 'sets',
      'Not stored': 'notStored',
      'Removed by key': 'deletes',
      'Found invalid': 'invalid',
      Expired: 'expired',
      Evicted: 'evictions',
      'Absences served': 'notFoundHits',
      'Marked stale': 'stale',
      'Hit ratio': 'hitRate',
    };
    const [l1, database] = stats.tiers;
    assert.deepEqual([l1.tier, database.tier], ['CACHE_TIER_L1', 'CACHE_TIER_DATABASE']);
    assert.ok(Number(l1.requests) >= 4 && Number(database.requests) >= 1, JSON.stringify(stats));
    for (const [name, field] of Object.entries(fields)) {
      assert.equal(Number(shown[name].L1), Number(l1[field] ?? 0), name);
      if (shown[name].Database !== null) assert.equal(Number(shown[name].Database), Number(database[field] ?? 0), name);
    }
    for (const [name, field] of [
      ['Median', 'p50'],
      ['95 %', 'p95'],
      ['99 %', 'p99'],
    ]) {
      assert.equal(Number(shown[name].Database), Number.parseFloat(database.latency[field]), name);
    }
  });
  await page.locator('#chart-requests svg[aria-label*="L1: now"]').waitFor();
  await page.locator('#chart-latency svg[aria-label*="calls: now"]').waitFor();
  const keys = page.locator('#hot tbody tr');
  await keys.filter({ hasText: 'product:copper-saucepan-18cm' }).waitFor();
  await page.locator('#replicas tbody tr', { hasText: '(this one)' }).waitFor();
});

onPage('an invalidation typed elsewhere appears within a second, with its source', {}, async (page) => {
  const rows = page.locator('#changes tbody tr');
  await server.larder('invalidate', 'keys', 'product:typed-elsewhere');
  await rows
    .filter({ hasText: 'product:typed-elsewhere' })
    .filter({ hasText: 'this replica' })
    .waitFor({ timeout: 1_000 });
  await server.larder('invalidate', 'tags', 'seen-on-the-page');
  await rows.filter({ hasText: 'tag seen-on-the-page' }).waitFor({ timeout: 1_000 });
  await server.sql("UPDATE products SET name = name || ' (new)' WHERE id = 'copper-saucepan-18cm'");
  await rows
    .filter({ hasText: 'product:copper-saucepan-18cm written' })
    .filter({ hasText: 'change log' })
    .waitFor({ timeout: 1_000 });
  // A page that is opened later shows them, too.
  await page.reload();
  await rows.filter({ hasText: 'tag seen-on-the-page' }).waitFor();
});

onPage('a key is looked up and invalidated by keyboard alone', {}, async (page) => {
  await server.larder('get', 'copper-saucepan-18cm');
  const focused = (id) =>
    until(async () => {
      await page.keyboard.press('Tab');
      assert.equal(await page.evaluate(() => document.activeElement.id), id);
    });
  await focused('key');
  await page.keyboard.type('copper-saucepan-18cm');
  await page.keyboard.press('Enter');
  const status = page.locator('#lookup-result');
  await status.filter({ hasText: 'product:copper-saucepan-18cm: L1 valid, Database valid' }).waitFor();
  await page.locator('#entry td', { hasText: 'nothing that touches it has changed since it was read' }).waitFor();

  const asked = page.locator('#confirm-text', { hasText: 'product:copper-saucepan-18cm' });
  await focused('drop-key');
  await page.keyboard.press('Enter');
  await asked.waitFor();
  await page.keyboard.press('Escape');
  await asked.waitFor({ state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement.id), 'drop-key');
  await page.keyboard.press('Enter');
  await asked.waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await status.filter({ hasText: 'Invalidated. 1 replica has applied it.' }).waitFor();
  await page
    .locator('#entry tbody tr', { hasText: 'State' })
    .locator('td')
    .first()
    .filter({ hasText: 'nothing' })
    .waitFor();
});

onPage('a lookup names the trace of the last change', {}, async (page) => {
  await server.larder('get', 'copper-saucepan-18cm');
  await server.larder('invalidate', 'keys', 'copper-saucepan-18cm');
  const { changedByTraceId } = JSON.parse(await server.larder('inspect', '--json', 'copper-saucepan-18cm'));
  assert.match(changedByTraceId, /^[0-9a-f]{32}$/);
  await page.fill('#key', 'copper-saucepan-18cm');
  await page.keyboard.press('Enter');
  await page.locator('#changed-by code', { hasText: changedByTraceId }).waitFor();
  await page.fill('#key', 'product:never-written');
  await page.keyboard.press('Enter');
  await page.locator('#changed-by').waitFor({ state: 'hidden' });
});

onPage('a preview counts and drops nothing, an invalidation asks first', {}, async (page) => {
  await server.larder('get', 'copper-saucepan-18cm');
  await page.selectOption('#subject', 'pattern');
  await page.fill('#value', 'product:copper-saucepan-*');
  const told = page.locator('#invalidate-result');
  await page.keyboard.press('Enter');
  await told.filter({ hasText: '1 copy in L1 of this replica would be dropped.' }).waitFor();
  await page.locator('#sample li', { hasText: 'product:copper-saucepan-18cm' }).waitFor();
  await page.locator('#invalidate-form .danger').click();
  await page.locator('#confirm button[value=drop]').click();
  await told.filter({ hasText: 'Invalidated.' }).waitFor();
  await page.fill('#value', 'product:copper-saucepan-*');
  await page.keyboard.press('Enter');
  await told.filter({ hasText: '0 copies' }).waitFor();
});

test('what is wrong is said in a sentence', async () => {
  const { page, close } = await open(browser, server.url);
  try {
    await page.fill('#key', 'no:such:kind');
    await page.keyboard.press('Enter');
    await page.locator('#lookup-result.bad', { hasText: 'key' }).waitFor();
    await page.selectOption('#subject', 'pattern');
    await page.fill('#value', '[');
    await page.keyboard.press('Enter');
    await page.locator('#invalidate-result.bad', { hasText: 'pattern' }).waitFor();
  } finally {
    await close();
  }
});

onPage('a pause holds the page still, and loses nothing', {}, async (page) => {
  await page.locator('#pause').click();
  await server.larder('invalidate', 'tags', 'during-the-pause');
  await server.larder('invalidate', 'tags', 'still-paused');
  const row = page.locator('#changes tbody tr', { hasText: 'during-the-pause' });
  assert.equal(await row.count(), 0);
  await page.locator('#pause').click();
  await row.waitFor({ timeout: 1_000 });
});

onPage('a hidden page does not listen, and catches up when it is seen again', {}, async (page) => {
  const hide = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { configurable: true, value });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  await hide(true);
  await server.larder('invalidate', 'tags', 'while-hidden');
  await server.larder('invalidate', 'tags', 'still-hidden');
  const row = page.locator('#changes tbody tr', { hasText: 'tag while-hidden' });
  assert.equal(await row.count(), 0);
  await hide(false);
  await row.waitFor();
  assert.equal(await row.count(), 1);
});

for (const scheme of ['light', 'dark']) {
  for (const width of [360, 1600]) {
    onPage(`axe finds nothing serious, ${scheme} at ${width} px`, { width, scheme }, async (page) => {
      await server.larder('get', 'copper-saucepan-18cm');
      await server.larder('invalidate', 'keys', 'product:copper-saucepan-18cm');
      await page.locator('#changes tbody tr').first().waitFor();
      await page.fill('#key', 'copper-saucepan-18cm');
      await page.keyboard.press('Enter');
      await page.locator('#entry').waitFor();
      // The mark of a new row fades.
      await page.locator('#changes tr.new').first().waitFor({ state: 'detached' });
      assert.deepEqual(await violations(page), []);
      assert.ok(
        await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth),
        'the page is wider than the window',
      );
      await page.locator('#drop-key').click();
      await page.locator('#confirm').waitFor();
      assert.deepEqual(await violations(page), []);
    });
  }
}

onPage('the whole page has at most 100 KiB, all from the server', {}, async (page, { responses }) => {
  const files = responses.filter((response) => !response.url().endsWith('/page/events'));
  assert.ok(files.length >= 8);
  assert.ok(responses.every((response) => response.url().startsWith(server.url)));
  const sizes = await Promise.all(files.map(async (response) => (await response.body()).length));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  assert.ok(total <= 100 * 1024, `${total} bytes`);
  const policy = files[0].headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe|\*/);
});

test('another site can neither ask nor invalidate', async () => {
  const invalidate = { method: 'POST', path: '/page/api/InvalidateAll', body: '{}', headers: json };
  const own = `127.0.0.1:${server.port}`;
  const asked = async (more) => (await send({ ...invalidate, headers: { ...json, ...more } })).status;
  assert.equal(await asked({ origin: 'https://other.example' }), 403);
  assert.equal(await asked({ origin: `http://127.0.0.1:${Number(server.port) + 1}` }), 403);
  assert.equal(await asked({ 'sec-fetch-site': 'cross-site' }), 403);
  assert.equal(await asked({ host: `rebound.example:${server.port}` }), 421);
  assert.equal(await asked({ 'content-type': 'text/plain' }), 415);
  assert.equal(await asked({ 'x-forwarded-for': '10.0.0.7' }), 403);
  assert.equal(await asked({ origin: `http://${own}`, 'sec-fetch-site': 'same-origin' }), 200);
  assert.equal((await send({ path: '/', headers: { host: 'rebound.example' } })).status, 421);
  assert.equal((await send({ path: '/page/events', headers: { 'sec-fetch-site': 'cross-site' } })).status, 403);
  assert.equal((await send({ ...invalidate, path: '/page/api/PurgeExpired' })).status, 404);
  assert.equal((await send({ ...invalidate, body: '{"keys": [1' })).status, 400);
  assert.equal((await send({ ...invalidate, body: `{"keys": ["${'x'.repeat(70_000)}"]}` })).status, 413);
});

test('from another machine one may look and not invalidate', async (context) => {
  const addresses = Object.values(networkInterfaces()).flat();
  const host = addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  if (!host) return context.skip('this machine has only loopback addresses');
  const refused = await send({ host, method: 'POST', path: '/page/api/InvalidateAll', body: '{}', headers: json });
  assert.equal(refused.status, 403);
  assert.match(JSON.parse(refused.text).message, /larder invalidate/);
  const { page, complaints, close } = await open(browser, `http://${host}:${server.port}/`);
  try {
    await page.locator('#refusal', { hasText: 'larder invalidate' }).waitFor();
    assert.ok(await page.locator('#invalidate-form .danger').isDisabled());
    await page.fill('#key', 'copper-saucepan-18cm');
    await page.keyboard.press('Enter');
    await page.locator('#lookup-result', { hasText: 'Database valid' }).waitFor();
    // Over plain HTTP from elsewhere, the browser ignores one header and says so.
    assert.deepEqual(
      complaints.filter((text) => !text.includes('Cross-Origin-Opener-Policy')),
      [],
    );
  } finally {
    await close();
  }
});

test('listeners are bounded, and one that leaves makes room', async () => {
  const own = await Server.start();
  const listen = () =>
    new Promise((done, failed) => {
      const request = http.get(`${own.url}page/events`, (response) => {
        response.on('error', () => {}).resume();
        done({ status: response.statusCode, leave: () => request.destroy() });
      });
      request.on('error', failed);
    });
  const listeners = [];
  let refused = null;
  while (listeners.length < 20 && refused === null) {
    const listener = await listen();
    if (listener.status === 200) listeners.push(listener);
    else refused = listener;
  }
  assert.equal(refused?.status, 503);
  assert.equal(listeners.length, 16);
  listeners.pop().leave();
  await until(async () => {
    const listener = await listen();
    assert.equal(listener.status, 200);
    listeners.push(listener);
  });
  for (const listener of listeners) listener.leave();
  assert.equal(await own.stop(), 0);
});

test('a drain ends the streams, and the page says so', async () => {
  const other = await Server.start();
  const { page, close } = await open(browser, other.url);
  try {
    const began = Date.now();
    assert.equal(await other.stop(), 0);
    assert.ok(Date.now() - began < 5_000, 'the drain waited for a browser');
    await page.locator('#state-text', { hasText: 'connection lost' }).waitFor();
  } finally {
    await close();
  }
});
