// Keeps the page live: events from the server become figures, charts and rows.

import { Chart, WINDOW } from './chart.js';
import { find, say } from './dom.js';
import { showChanges, showFacts, showHot, showMissed, showReplicas, showTiers, showTotals } from './figures.js';
import { percent, rate, replicaName, seconds, time } from './format.js';
import { look, permit, start } from './forms.js';

/** Without an event for this long, the figures are called old. */
const SILENCE = 5_000;
/** How long to wait before a refused connection is tried again; the browser itself retries a lost one. */
const RETRY = 5_000;
/** Points, two seconds apart, over which a value is taken: of fewer, rare events make a saw. */
const SMOOTHED = 5;
/** Changes that a pause keeps. */
const HELD = 200;

const [L1, L2, DATABASE] = [
  ['L1', 'one'],
  ['L2', 'two'],
  ['Database', 'three'],
];
const CALLS = ['calls', 'all'];
const SOURCES = [
  ['this replica', 'one'],
  ['bus', 'two'],
  ['change log', 'three'],
];
const charts = {
  requests: new Chart('chart-requests', { title: 'Requests per second', lines: [L1, L2, DATABASE], show: rate }),
  hits: new Chart('chart-hits', { title: 'Hit ratio', lines: [L1, L2], show: percent, top: 1 }),
  latency: new Chart('chart-latency', { title: 'Mean latency', lines: [CALLS, L2, DATABASE], show: time }),
  changes: new Chart('chart-changes', { title: 'Invalidations per second', lines: SOURCES, show: rate }),
};
const before = new Map();
let points = [];
let sample = null;
let held = [];
let missed = 0;
let paused = false;
let silence = null;

/** What happened between two points of the same process. */
function since(then, now) {
  const passed = now.at - then.at;
  const risen = (name) => now[name] - then[name];
  const perSecond = (name) => risen(name) / passed;
  const share = (part, whole) => (risen(whole) > 0 ? risen(part) / risen(whole) : null);
  return {
    at: now.at,
    requests: [perSecond('l1Requests'), perSecond('l2Requests'), perSecond('loads')],
    hits: [share('l1Hits', 'l1Requests'), share('l2Hits', 'l2Requests')],
    latency: [share('callSeconds', 'calls'), share('l2Seconds', 'l2Commands'), share('loadSeconds', 'loadsTimed')],
    changes: [perSecond('own'), perSecond('bus'), perSecond('log')],
  };
}

function drawCharts() {
  const steps = points.slice(1).map((now, number) => since(points[Math.max(0, number + 1 - SMOOTHED)], now));
  for (const [name, chart] of Object.entries(charts)) {
    chart.draw(steps.map((step) => ({ at: step.at, values: step[name] })));
  }
}

function drawSample() {
  const { stats, hotKeys, changeLog } = sample;
  const [own] = stats.replicas;
  const { replica } = own;
  say(find('replica'), `${replicaName(replica)} · ${replica.version} · up ${time(seconds(replica.uptime))}`);
  document.title = `Larder · ${replicaName(replica)}`;
  showTiers(own.tiers);
  showTotals(own.invalidations ?? {});
  showHot(hotKeys, look);
  showReplicas(stats, before);
  showFacts(sample);
  find('problem').hidden = !changeLog.problem;
  if (changeLog.problem)
    say(find('problem'), `The change log is incomplete, so the database answers every read: ${changeLog.problem}`);
}

function drawChanges() {
  if (missed > 0) showMissed(missed);
  if (held.length > 0) showChanges(held, look);
  [held, missed] = [[], 0];
}

function draw() {
  drawCharts();
  if (sample) drawSample();
  drawChanges();
}

function state(text, style) {
  find('state').firstElementChild.className = `dot ${style}`;
  say(find('state-text'), text);
}

function live() {
  clearTimeout(silence);
  silence = setTimeout(() => state('no news, figures are old', 'bad'), SILENCE);
  if (!paused) state('live', 'good');
}

function connect() {
  const events = new EventSource('/page/events');
  const on = (name, take) =>
    events.addEventListener(name, (event) => {
      live();
      take(JSON.parse(event.data));
    });
  on('hello', (hello) => {
    points = hello.points;
    [held, missed] = [[], 0];
    find('changes').tBodies[0].replaceChildren();
    permit(hello.refusal);
    if (!paused) drawCharts();
  });
  on('point', (point) => {
    if (points.length > 0 && point.at <= points.at(-1).at) return;
    points = [...points.filter(({ at }) => at >= point.at - WINDOW), point];
    if (!paused) drawCharts();
  });
  on('sample', (told) => {
    sample = told;
    if (!paused) drawSample();
  });
  on('changes', (told) => {
    const now = Date.now();
    missed += told.missed;
    held.push(...told.changes.map((change) => ({ ...change, at: new Date(now - change.age * 1000) })));
    const over = Math.max(0, held.length - HELD);
    held.splice(0, over);
    missed += over;
    if (!paused) drawChanges();
  });
  events.onerror = () => {
    clearTimeout(silence);
    state('connection lost, trying again', 'bad');
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY);
  };
}

find('pause').addEventListener('click', () => {
  paused = !paused;
  find('pause').setAttribute('aria-pressed', String(paused));
  if (paused) {
    state('paused', '');
  } else {
    state('live', 'good');
    draw();
  }
});
start();
connect();
