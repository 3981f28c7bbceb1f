// Keeps the page live: events from the server become figures, charts and rows.

import { Chart, WINDOW } from './chart.js';
import { find, say } from './dom.js';
import {
  forgetChanges,
  showChanges,
  showFacts,
  showHot,
  showMissed,
  showReplicas,
  showTiers,
  showTotals,
} from './figures.js';
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
/** Whether the changes to draw replace those that are shown. */
let anew = false;
let paused = false;
let connection = ['connecting', ''];
let events = null;
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
  if (anew) forgetChanges();
  if (missed > 0) showMissed(missed);
  if (held.length > 0) showChanges(held, look);
  [held, missed, anew] = [[], 0, false];
}

function draw() {
  drawCharts();
  if (sample) drawSample();
  drawChanges();
}

function showState() {
  const [text, style] = paused ? ['paused', ''] : connection;
  find('state').firstElementChild.className = `dot ${style}`;
  say(find('state-text'), text);
}

function state(text, style) {
  connection = [text, style];
  showState();
}

function live() {
  clearTimeout(silence);
  silence = setTimeout(() => state('no news, figures are old', 'bad'), SILENCE);
  state('live', 'good');
}

/** The server tells everything anew: the points so far, and then the changes that it keeps. */
function hello(told) {
  points = told.points;
  [held, missed, anew] = [[], 0, true];
  permit(told.refusal);
}

function addPoint(point) {
  if (points.length > 0 && point.at <= points.at(-1).at) return;
  points = [...points.filter(({ at }) => at >= point.at - WINDOW), point];
}

function addChanges(told) {
  const now = Date.now();
  held.push(...told.changes.map((change) => ({ ...change, at: new Date(now - change.age * 1000) })));
  const over = Math.max(0, held.length - HELD);
  held.splice(0, over);
  missed += told.missed + over;
}

function connect() {
  const source = new EventSource('/page/events');
  const on = (name, take, draw) =>
    source.addEventListener(name, (event) => {
      live();
      take(JSON.parse(event.data));
      if (!paused) draw();
    });
  on('hello', hello, draw);
  on('point', addPoint, drawCharts);
  on('sample', (told) => (sample = told), drawSample);
  on('changes', addChanges, drawChanges);
  source.onerror = () => {
    clearTimeout(silence);
    state('connection lost, trying again', 'bad');
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, RETRY);
  };
  return source;
}

/** A hidden page does not listen: a browser has few connections to one server, which its tabs share. */
function listen() {
  events?.close();
  clearTimeout(silence);
  events = document.hidden ? null : connect();
}

find('pause').addEventListener('click', () => {
  paused = !paused;
  find('pause').setAttribute('aria-pressed', String(paused));
  showState();
  if (!paused) draw();
});
document.addEventListener('visibilitychange', listen);
start();
listen();
