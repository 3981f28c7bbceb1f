// Looking a key up, and invalidating.

import { find, make, say } from './dom.js';
import { bytes, count, replicaName, seconds, tierName, time, whole } from './format.js';

/** Calls a method of CacheAdmin. An error has a sentence for people. */
async function call(method, request) {
  const response = await fetch(`/page/api/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(15_000),
  });
  const reply = await response.json();
  if (!response.ok) throw new Error(reply.message);
  return reply;
}

/** Runs one action at a time, says what came of it, and says what failed. */
async function run(form, status, action) {
  if (form.ariaBusy === 'true') return;
  form.ariaBusy = 'true';
  status.className = '';
  say(status, '…');
  try {
    say(status, await action());
  } catch (error) {
    status.className = 'bad';
    say(
      status,
      error.name === 'TimeoutError'
        ? 'The replica did not answer within 15 s.'
        : `${error.message}.`.replace(/\.\.$/, '.'),
    );
  } finally {
    form.ariaBusy = 'false';
  }
}

// ---- Lookup

const KINDS = { ENTRY_KIND_PRODUCT: 'product', ENTRY_KIND_NOT_FOUND: 'absence', ENTRY_KIND_PAGE: 'page' };
const held = (show) => (tier) => (tier.present ? show(tier) : '');

const ASPECTS = [
  ['State', (tier) => (!tier.present ? 'nothing' : tier.valid ? 'valid' : 'not valid')],
  ['Why', (tier) => tier.reason ?? ''],
  ['Kind', held((tier) => KINDS[tier.kind] ?? 'unknown')],
  ['Etag', held((tier) => tier.etag ?? '')],
  ['Age', held((tier) => (tier.age ? time(seconds(tier.age)) : ''))],
  ['Expires in', held((tier) => (tier.ttl ? time(seconds(tier.ttl)) : ''))],
  ['Bytes', held((tier) => bytes(count(tier.bytes)))],
  ['Horizon', held((tier) => (count(tier.horizon) > 0 ? String(tier.horizon) : ''))],
  ['Categories', held((tier) => (tier.categories ?? []).join(', '))],
  ['Tags', held((tier) => (tier.tags ?? []).join(', '))],
];
const STYLES = { valid: 'good', 'not valid': 'bad' };

function showEntry({ key, tiers, changedByTraceId }) {
  const [table] = find('entry').children;
  table.tHead.rows[0].replaceChildren(
    make('th', { scope: 'col' }, 'Tier'),
    ...tiers.map((tier) => make('th', { scope: 'col' }, tierName(tier.tier))),
  );
  const told = ASPECTS.map(([name, of]) => [name, tiers.map(of)]).filter(([, texts]) =>
    texts.some((text) => text !== ''),
  );
  table.tBodies[0].replaceChildren(
    ...told.map(([name, texts]) =>
      make(
        'tr',
        {},
        make('th', { scope: 'row' }, name),
        ...texts.map((text) => make('td', { class: STYLES[text] ?? '' }, text)),
      ),
    ),
  );
  say(find('changed-by').querySelector('code'), changedByTraceId ?? '');
  find('changed-by').hidden = !changedByTraceId;
  find('entry').hidden = false;
  find('drop-key').hidden = false;
  find('drop-key').dataset.key = key;
  return `${key}: ${tiers.map((tier) => `${tierName(tier.tier)} ${ASPECTS[0][1](tier)}`).join(', ')}`;
}

const lookUp = (key) =>
  run(find('lookup-form'), find('lookup-result'), async () => showEntry(await call('InspectEntry', { key })));

/** Looks a key of a table up. */
export function look(key) {
  find('key').value = key;
  find('lookup').scrollIntoView({ block: 'nearest' });
  find('key').focus({ preventScroll: true });
  return lookUp(key);
}

// ---- Invalidation

const SUBJECTS = {
  keys: {
    method: 'InvalidateKeys',
    label: 'Key, or id of a product',
    request: (value) => ({ keys: [value] }),
    named: (value) => `the copies of ${value}`,
  },
  categories: {
    method: 'InvalidateCategories',
    label: 'Category',
    request: (value) => ({ categories: [value] }),
    named: (value) => `the copies of every product in the category ${value}, and every list`,
  },
  tags: {
    method: 'InvalidateTags',
    label: 'Tag',
    request: (value) => ({ tags: [value] }),
    named: (value) => `the copies of every product with the tag ${value}, and every list`,
  },
  pattern: {
    method: 'InvalidatePattern',
    label: 'Pattern, such as product:sku-1*',
    request: (pattern) => ({ pattern }),
    named: (value) => `the copies of every key that matches ${value}`,
  },
  all: { method: 'InvalidateAll', label: 'No value is needed', request: () => ({}), named: () => 'every copy' },
};

let answered = Promise.resolve();

/** Asks in a dialog; the answer is whether to go on. */
async function confirmed(text) {
  const dialog = find('confirm');
  // A dialog is closed a moment before it says so, and must not answer for the next one.
  await answered;
  say(find('confirm-text'), text);
  dialog.returnValue = 'cancel';
  dialog.showModal();
  answered = new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'drop'), { once: true });
  });
  return answered;
}

async function drop(subject, value) {
  const { method, request } = SUBJECTS[subject];
  const { invalidation } = await call(method, request(value));
  const replicas = count(invalidation.confirmed);
  const told = `Invalidated. ${replicas} ${replicas === 1 ? 'replica has' : 'replicas have'} applied it.`;
  const silent = (invalidation.silent ?? []).map(replicaName);
  if (silent.length === 0) return told;
  return `${told} No answer from ${silent.join(', ')}: the change log brings it there within the staleness bound.`;
}

async function preview(subject, value) {
  const { method, request } = SUBJECTS[subject];
  const { invalidation } = await call(method, { ...request(value), dryRun: true });
  const [copies, sample] = [count(invalidation.count), invalidation.sample ?? []];
  find('sample').replaceChildren(...sample.map((key) => make('li', { class: 'key' }, key)));
  find('sample').hidden = sample.length === 0;
  const more = copies > sample.length ? `; the first ${sample.length} are listed` : '';
  return `${whole(copies)} ${copies === 1 ? 'copy' : 'copies'} in L1 of this replica would be dropped${more}.`;
}

async function invalidate(form, status, subject, value) {
  if (!(await confirmed(`Drop ${SUBJECTS[subject].named(value)}, on every tier of every replica?`))) return;
  await run(form, status, () => drop(subject, value));
}

async function dropShownKey() {
  const { key } = find('drop-key').dataset;
  const [form, status] = [find('lookup-form'), find('lookup-result')];
  if (!(await confirmed(`Drop the copies of ${key}, on every tier of every replica?`))) return;
  await run(form, status, async () => {
    const told = await drop('keys', key);
    showEntry(await call('InspectEntry', { key }));
    return told;
  });
}

function submitted(event) {
  event.preventDefault();
  const form = event.target;
  const [subject, value] = [form.subject.value, form.value.value.trim()];
  const status = find('invalidate-result');
  find('sample').hidden = true;
  // Enter in the field previews: the first button of a form is its default.
  if (event.submitter?.value === 'drop') invalidate(form, status, subject, value);
  else run(form, status, () => preview(subject, value));
}

function chosen() {
  const subject = find('subject').value;
  const field = find('value');
  say(find('value-label'), SUBJECTS[subject].label);
  field.disabled = subject === 'all';
  field.required = subject !== 'all';
}

/** Connects the forms. */
export function start() {
  find('lookup-form').addEventListener('submit', (event) => {
    event.preventDefault();
    lookUp(find('key').value.trim());
  });
  find('drop-key').addEventListener('click', dropShownKey);
  find('invalidate-form').addEventListener('submit', submitted);
  find('subject').addEventListener('change', chosen);
  chosen();
}

/** Says why this browser may not invalidate, or lets it. */
export function permit(refusal) {
  const buttons = [find('drop-key'), ...find('invalidate-form').querySelectorAll('.danger')];
  for (const button of buttons) button.disabled = refusal !== null;
  find('refusal').hidden = refusal === null;
  say(find('refusal'), refusal ?? '');
}
