// Line charts in SVG, over the last ten minutes.

import { find, make, say } from './dom.js';
import { clock } from './format.js';

/** Seconds that a chart shows. */
export const WINDOW = 600;
const [WIDTH, HEIGHT] = [600, 100];
const SPACE = 'http://www.w3.org/2000/svg';

function shape(tag, attributes) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The next of 1, 2, 5, 10, 20, … */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999_999);
}

export class Chart {
  /**
   * `lines` have a name and the class of their colour; `show` makes a text of a value; `top` is the highest value, if it
   * is always the same.
   */
  constructor(id, { title, lines, show, top = null }) {
    Object.assign(this, { title, lines, show, top, points: [], cursor: null });
    const figure = find(id);
    this.scale = make('span', { class: 'top' });
    figure.append(make('figcaption', {}, make('b', {}, title), this.scale));
    this.svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
    for (const y of [0, HEIGHT / 2]) {
      this.svg.append(shape('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y, y2: y }));
    }
    this.paths = lines.map(([, style]) => shape('path', { class: style }));
    this.mark = shape('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
    this.svg.append(...this.paths, this.mark);
    this.values = lines.map(() => make('data'));
    const legend = lines.map(([name, style], number) =>
      make('li', {}, make('i', { class: style }), name, this.values[number]),
    );
    figure.append(this.svg, make('ul', { class: 'legend' }, ...legend));
    this.svg.addEventListener('pointermove', (event) => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.point(null));
  }

  /** Draws points `{at, values}`, oldest first; `at` is in seconds, and a value may be `null`. */
  draw(points) {
    this.points = points;
    const newest = points.at(-1)?.at ?? 0;
    const all = points.flatMap(({ values }) => values).filter((value) => value !== null);
    const highest = Math.max(0, ...all);
    this.highest = this.top ?? (highest > 0 ? ceiling(highest) : 1);
    this.x = (at) => WIDTH - ((newest - at) / WINDOW) * WIDTH;
    this.paths.forEach((path, number) => path.setAttribute('d', this.line(number)));
    say(this.scale, all.length === 0 ? '' : `top ${this.show(this.highest)}`);
    this.label(all);
    this.tell();
  }

  /** The path of a line, which is broken where there is no value. */
  line(number) {
    let drawn = '';
    let pen = 'M';
    for (const { at, values } of this.points) {
      const value = values[number];
      if (value === null) {
        pen = 'M';
        continue;
      }
      const y = HEIGHT - (value / this.highest) * HEIGHT;
      // A lone point is drawn as a dot one unit wide.
      drawn += `${pen}${this.x(at).toFixed(1)} ${y.toFixed(1)}${pen === 'M' ? 'h.1' : ''}`;
      pen = 'L';
    }
    return drawn;
  }

  label(all) {
    const told = this.lines.map(([name], number) => {
      const values = this.points.map((point) => point.values[number]).filter((value) => value !== null);
      if (values.length === 0) return `${name}: no value`;
      const [least, most] = [Math.min(...values), Math.max(...values)].map(this.show);
      return `${name}: now ${this.show(this.points.at(-1).values[number])}, lowest ${least}, highest ${most}`;
    });
    this.svg.setAttribute(
      'aria-label',
      all.length === 0 ? `${this.title}: no value yet` : `${this.title}. ${told.join('; ')}`,
    );
  }

  /** Shows the values under the pointer, or the newest ones. */
  point(event) {
    if (event === null || this.points.length === 0) {
      this.cursor = null;
    } else {
      const box = this.svg.getBoundingClientRect();
      const ago = (1 - (event.clientX - box.left) / box.width) * WINDOW;
      this.cursor = this.points.at(-1).at - ago;
    }
    this.tell();
  }

  tell() {
    const distance = (point) => Math.abs(point.at - this.cursor);
    const chosen =
      this.cursor === null
        ? this.points.at(-1)
        : this.points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    this.lines.forEach((_, number) => {
      const value = chosen?.values[number] ?? null;
      this.values[number].value = value ?? '';
      say(this.values[number], this.show(value));
    });
    this.mark.setAttribute('visibility', this.cursor === null ? 'hidden' : 'visible');
    if (this.cursor !== null) {
      this.mark.setAttribute('x1', this.x(chosen.at));
      this.mark.setAttribute('x2', this.x(chosen.at));
      const ago = this.points.at(-1).at - chosen.at;
      say(this.scale, clock(new Date(Date.now() - ago * 1000)));
    }
  }
}
