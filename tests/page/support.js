// A real server and a real browser.

import { spawn, execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const binary =
  process.env.LARDER_TEST_BINARY ?? join(resolve(root, process.env.CARGO_TARGET_DIR ?? 'target'), 'debug/larder');
const browserPath = process.env.LARDER_TEST_CHROMIUM;
/** The environment without settings of Larder, which would change the server. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(LARDER_|DATABASE_|REDIS_|OTEL_)/.test(name)),
);

/** Waits for a condition, at most ten seconds. The condition returns what is wanted, or throws. */
export async function until(condition) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      return await condition();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await wait(50);
    }
  }
}

export class Server {
  /** Starts a server with some variables besides the test's own settings. */
  static async start(variables = {}) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'larder-page-'));
    server.database = join(server.directory, 'larder.db');
    const file = join(server.directory, 'addresses.json');
    // Every address of the machine, so that a client can be one that is not on loopback.
    const listen = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--http-listen', '0.0.0.0:0'];
    const args = [
      'serve',
      ...listen,
      '--addresses-file',
      file,
      '--database-url',
      `sqlite://${server.database}`,
      '--sample-catalogue=true',
    ];
    server.log = '';
    // Every call is traced, although nobody takes the spans.
    const env = { ...environment, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:9', ...variables };
    server.process = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [server.process.stdout, server.process.stderr])
      stream.on('data', (text) => {
        server.log += text;
      });
    server.ended = new Promise((done) => {
      server.process.on('exit', done);
    });
    server.addresses = await until(() => {
      if (server.process.exitCode !== null) throw new Error(`the server ended: ${server.log}`);
      return JSON.parse(readFileSync(file, 'utf8'));
    });
    server.port = server.addresses.http.split(':').at(-1);
    server.url = `http://127.0.0.1:${server.port}/`;
    return server;
  }

  /** Runs a command of the command line against this server. Returns what it prints. */
  async larder(...args) {
    const server = {
      LARDER_ADDRESS: `http://${this.addresses.catalog}`,
      LARDER_ADMIN_ADDRESS: `http://${this.addresses.admin}`,
    };
    const { stdout } = await promisify(execFile)(binary, args, { env: { ...environment, ...server }, timeout: 20_000 });
    return stdout;
  }

  /** Runs SQL past the server. */
  async sql(statement) {
    await promisify(execFile)('sqlite3', ['-cmd', '.timeout 5000', this.database, statement], { timeout: 20_000 });
  }

  async stop() {
    this.process.kill('SIGTERM');
    const cut = setTimeout(() => this.process.kill('SIGKILL'), 20_000);
    const code = await this.ended;
    clearTimeout(cut);
    rmSync(this.directory, { recursive: true, force: true });
    return code;
  }
}

/** Starts Chromium. It keeps to itself: no update, no sync, nothing of the user's. */
export function launch() {
  if (!browserPath) throw new Error('LARDER_TEST_CHROMIUM names no browser; make test-page sets it');
  const args = ['--disable-gpu', '--disable-background-networking', '--no-first-run', '--disable-sync'];
  // Chromium refuses its sandbox to root.
  if (process.getuid?.() === 0) args.push('--no-sandbox');
  return chromium.launch({ executablePath: browserPath, args });
}

/** Opens the page, and notes every complaint of the browser and every response. */
export async function open(browser, url, { width = 1600, height = 1000, scheme = 'light' } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, bypassCSP: false });
  const page = await context.newPage();
  const [complaints, responses] = [[], []];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('response', (response) => responses.push(response));
  await page.goto(url);
  await page.locator('#state-text', { hasText: 'live' }).waitFor();
  await page.locator('#tiers tbody tr').first().waitFor();
  return { page, complaints, responses, close: () => context.close() };
}

const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** What axe-core calls serious or critical. The debugger adds it, which no policy of the page governs. */
export async function violations(page) {
  await page.evaluate(readFileSync(axePath, 'utf8'));
  const { violations: found } = await page.evaluate(() => globalThis.axe.run(document));
  return found
    .filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
