// The tables: tiers, hottest keys, replicas, invalidations.

import { figure, find, keyButton, make, rows, say } from './dom.js';
import { bytes, clock, count, percent, rate, replicaName, seconds, tierName, time, whole } from './format.js';

const latency = (field) => (tier) => {
  const measured = tier.latency && count(tier.latency.count) > 0;
  return measured ? [seconds(tier.latency[field]), time] : null;
};
const counted = (field) => (tier) => [count(tier[field]), whole];

/** The rows of the table of tiers: name, value with its form (`null` where a tier has none), and whether a gap comes first. */
const FIGURES = [
  ['Requests', counted('requests')],
  ['Hits', counted('hits')],
  ['Hit ratio', (tier) => [count(tier.requests) > 0 ? (tier.hitRate ?? 0) : null, percent]],
  ['Misses', counted('misses')],
  ['Absences served', (tier) => (tier.tier === 'CACHE_TIER_L1' ? counted('notFoundHits')(tier) : null)],
  ['Marked stale', (tier) => (tier.tier === 'CACHE_TIER_L1' ? counted('stale')(tier) : null)],
  ['Errors', counted('errors')],
  ['Median', latency('p50'), true],
  ['95 %', latency('p95')],
  ['99 %', latency('p99')],
  ['Entries', (tier) => (held(tier) ? counted('entries')(tier) : null), true],
  ['Bytes', (tier) => (held(tier) ? [count(tier.bytes), bytes] : null)],
  [
    'of at most',
    (tier) => (held(tier) ? [count(tier.capacityBytes), (value) => (value > 0 ? bytes(value) : 'no limit')] : null),
  ],
  ['Stored', (tier) => (held(tier) ? counted('sets')(tier) : null), true],
  ['Not stored', (tier) => (held(tier) ? counted('notStored')(tier) : null)],
  ['Removed by key', (tier) => (held(tier) ? counted('deletes')(tier) : null)],
  ['Found invalid', (tier) => (held(tier) ? counted('invalid')(tier) : null)],
  ['Expired', (tier) => (held(tier) ? counted('expired')(tier) : null)],
  ['Evicted', (tier) => (held(tier) ? counted('evictions')(tier) : null)],
];

const held = (tier) => tier.tier !== 'CACHE_TIER_DATABASE';

/** Shows what each tier counted. */
export function showTiers(tiers) {
  const table = find('tiers');
  const head = table.tHead.rows[0];
  const body = table.tBodies[0];
  if (head.cells.length !== tiers.length + 1) {
    head.replaceChildren(head.cells[0], ...tiers.map((tier) => make('th', { scope: 'col' }, tierName(tier.tier))));
    body.replaceChildren(
      ...FIGURES.map(([name, , gap]) =>
        make('tr', gap ? { class: 'gap' } : {}, make('th', { scope: 'row' }, name), ...tiers.map(() => make('td'))),
      ),
    );
  }
  FIGURES.forEach(([name, of], row) => {
    tiers.forEach((tier, column) => {
      const cell = body.rows[row].cells[column + 1];
      const found = of(tier);
      if (found === null) {
        say(cell, '');
        return;
      }
      figure(cell, found[0], found[1](found[0]));
      if (name === 'Errors') cell.className = found[0] > 0 ? 'bad' : '';
    });
  });
}

/** Shows the keys that are read most. While one of them has the focus, the table holds still. */
export function showHot(keys, look) {
  const body = find('hot').tBodies[0];
  find('hot-none').hidden = keys.length > 0;
  if (body.contains(document.activeElement)) return;
  const list = rows(body, keys.length, () => make('tr', {}, make('td'), make('td', { class: 'number' })));
  keys.forEach(({ key, rate: reads }, number) => {
    const [name, value] = list[number].cells;
    if (name.textContent !== key) name.replaceChildren(keyButton(key, look));
    figure(value, reads ?? 0, rate(reads ?? 0));
  });
}

/** Shows the replicas. `before` has the last figures of each, by id, and becomes those of now. */
export function showReplicas({ replicas, silent = [] }, before) {
  const body = find('replicas').tBodies[0];
  const cells = () =>
    make('tr', {}, make('th', { scope: 'row' }), ...[...Array(6)].map(() => make('td', { class: 'number' })));
  const list = rows(body, replicas.length + silent.length, cells);
  const now = new Map();
  replicas.forEach((stats, number) => {
    const { replica, bus } = stats;
    const l1 = stats.tiers.find((tier) => tier.tier === 'CACHE_TIER_L1') ?? {};
    const [requests, hits, up] = [count(l1.requests), count(l1.hits), seconds(replica.uptime) ?? 0];
    const then = before.get(replica.id);
    const passed = then ? up - then.up : 0;
    const risen = then && passed > 0 && requests >= then.requests ? requests - then.requests : null;
    now.set(replica.id, { requests, hits, up });
    fill(list[number], replicaName(replica) + (number === 0 ? ' (this one)' : ''), busState(bus), [
      bus ? time(seconds(bus.lag)) : '–',
      bus ? percent(bus.missedShare ?? 0) : '–',
      rate(risen === null ? null : risen / passed),
      percent(requests > 0 ? hits / requests : null),
      time(up),
    ]);
  });
  silent.forEach((replica, number) => {
    const up = time(seconds(replica.uptime));
    fill(list[replicas.length + number], replicaName(replica), ['silent', 'doubt'], ['–', '–', '–', '–', up]);
  });
  before.clear();
  now.forEach((figures, id) => before.set(id, figures));
}

function busState(bus) {
  if (!bus) return ['none', ''];
  return bus.connected ? ['connected', 'good'] : ['lost', 'bad'];
}

function fill(row, name, [state, style], figures) {
  say(row.cells[0], name);
  say(row.cells[1], state);
  row.cells[1].className = style;
  figures.forEach((text, number) => say(row.cells[number + 2], text));
}

const ago = (age) => (age === null ? 'not yet read' : age < 1 ? 'less than 1 s ago' : `${time(age)} ago`);

/** Shows the change log, and Redis where there is one. */
export function showFacts({ stats, changeLog, l2Up }) {
  const own = stats.replicas[0];
  const look = seconds(changeLog.lastLook);
  const late = look === null || look > (seconds(changeLog.stalenessBound) ?? 0);
  const facts = [
    [
      'Change log',
      late ? `last read ${ago(look)}: past the staleness bound` : `last read ${ago(look)}`,
      late ? 'bad' : '',
    ],
  ];
  if (l2Up !== null) {
    facts.push([
      'Redis',
      l2Up ? `answers${own.redis ? `, ${own.redis.version}` : ''}` : 'away: its breaker is open',
      l2Up ? '' : 'bad',
    ]);
  }
  const loads = own.loads ?? {};
  facts.push([
    'Loads',
    `${whole(count(loads.loads))} begun, ${whole(count(loads.joined))} joined, ${whole(count(loads.refused))} refused`,
    '',
  ]);
  const ahead = own.prefetch ?? {};
  facts.push(['Prefetched', `${whole(count(ahead.loaded))} loaded, ${whole(count(ahead.used))} then read`, '']);
  const list = find('facts');
  while (list.children.length > 2 * facts.length) list.lastElementChild.remove();
  while (list.children.length < 2 * facts.length) list.append(make('dt'), make('dd'));
  facts.forEach(([name, text, style], number) => {
    say(list.children[2 * number], name);
    say(list.children[2 * number + 1], text);
    list.children[2 * number + 1].className = style;
  });
}

const SOURCES = { OWN: 'this replica', BUS: 'bus', LOG: 'change log' };
const SUBJECTS = { TERM: 'list', PATTERN: 'pattern', CATEGORY: 'category', TAG: 'tag' };
/** Rows of invalidations on the page. */
const MOST = 200;

/** Puts changes, oldest first, above those that are shown. */
export function showChanges(changes, look) {
  const body = find('changes').tBodies[0];
  const marked = changes.map(({ at, source, subject, name }) => {
    const when = make('time', { dateTime: at.toISOString() }, clock(at));
    const row = make(
      'tr',
      { class: 'new' },
      make('td', {}, when),
      make('td', {}, SOURCES[source] ?? source),
      make('td', {}, ...subjectOf(subject, name, look)),
    );
    body.prepend(row);
    return row;
  });
  while (body.rows.length > MOST) body.deleteRow(-1);
  find('changes-none').hidden = body.rows.length > 0;
  setTimeout(() => marked.forEach((row) => row.classList.remove('new')), 1500);
}

/** Shows no change any more. */
export function forgetChanges() {
  find('changes').tBodies[0].replaceChildren();
  find('changes-none').hidden = false;
}

/** Says that changes came too fast to be listed. */
export function showMissed(missed) {
  const row = make('tr', {}, make('td', { colSpan: 3, class: 'none' }, `${whole(missed)} more, too many to list`));
  find('changes').tBodies[0].prepend(row);
}

function subjectOf(subject, name, look) {
  if (subject === 'ALL') return ['everything'];
  if (subject === 'ENTRY') return [keyButton(name, look), ' written'];
  if (subject === 'KEY') return [keyButton(name, look)];
  return [`${SUBJECTS[subject] ?? subject} `, make('span', { class: 'key' }, name)];
}

/** Shows how many changes each source brought. */
export function showTotals({ fromOwnWrites, fromBus, fromChangeLog }) {
  const [own, bus, log] = [fromOwnWrites, fromBus, fromChangeLog].map(count);
  say(
    find('changes-total'),
    `${whole(own)} by this replica, ${whole(bus)} by the bus, ${whole(log)} by the change log`,
  );
}
