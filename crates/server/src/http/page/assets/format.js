// Figures as people read them. Counts arrive as JSON strings where they have 64 bits, and are absent where they are 0.

const NONE = '–';

/** A count of the contract. */
export const count = (value) => Number(value ?? 0);

/** Seconds of a duration of the contract, such as "0.000412s"; `null` without one. */
export const seconds = (value) => (value === undefined ? null : Number.parseFloat(value));

export const whole = (value) => Math.round(value).toLocaleString('en-US');

export function rate(value) {
  if (value === null) return NONE;
  return value < 99.95 ? value.toFixed(1) : whole(value);
}

export const percent = (share) => (share === null ? NONE : `${(share * 100).toFixed(1)} %`);

const three = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));

export function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${whole(value)} B` : `${three(value)} ${units[unit]}`;
}

/** A length of time, from microseconds to days. */
export function time(value) {
  if (value === null) return NONE;
  if (value === 0) return '0 s';
  if (value < 0.000_999_5) return `${three(value * 1e6)} µs`;
  if (value < 0.999_5) return `${three(value * 1e3)} ms`;
  if (value < 59.5) return `${three(value)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min`;
  if (value < 86_400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} d ${Math.floor((value % 86_400) / 3600)} h`;
}

/** A time of day. */
export const clock = (date) => date.toLocaleTimeString('en-GB');

export const tierName = (tier) =>
  ({ CACHE_TIER_L1: 'L1', CACHE_TIER_L2: 'L2', CACHE_TIER_DATABASE: 'Database' })[tier] ?? tier;

export const replicaName = (replica) => replica?.name || replica?.id || 'unnamed';
