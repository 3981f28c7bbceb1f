// Writes on one replica and reads each write at once on the other: `node dist/session_check.js HOST:PORT HOST:PORT COUNT`.

import { randomUUID } from "node:crypto";
import { connect, Session } from "./index.js";

const USERS = 16;
const LIMIT = { timeoutMs: 30_000 };

/** The share of one user, who always makes two writes at once. Returns how many reads were right. */
async function oneUser(addresses: string[], user: number, count: number): Promise<number> {
  const session = new Session();
  const catalogs = addresses.map((address) => connect(address, session.intercept));
  const products = [0, 1].map(() => `session-typescript-${randomUUID()}`);
  for (const id of products) await catalogs[0]!.createProduct({ product: { id, name: "new" }, requestId: randomUUID() }, LIMIT);
  let right = 0;
  for (let number = user; number < count / 2; number += USERS) {
    const turn = Math.floor(number / USERS) % 2;
    const [writer, reader, name] = [catalogs[turn]!, catalogs[1 - turn]!, String(number)];
    const update = (id: string) => writer.updateProduct({ product: { id, name }, requestId: randomUUID() }, LIMIT);
    await Promise.all(products.map(update));
    for (const id of products) {
      const got = await reader.getProduct({ id }, LIMIT);
      if (got.product!.name === name) right += 1;
    }
  }
  for (const catalog of catalogs) catalog[Symbol.dispose]();
  return right;
}

const [first, second, number] = process.argv.slice(2);
const count = Number(number);
const users = Array.from({ length: USERS }, (_, user) => oneUser([first!, second!], user, count));
const right = (await Promise.all(users)).reduce((sum, one) => sum + one, 0);
console.log(`session: ${right} of ${count} reads show the write before them`);
process.exitCode = right === count ? 0 : 1;
