// Small helpers. Elements are made, never parsed from text, so that no key or name can become markup.

/** Makes an element. A property `class` or `data-…` is set as an attribute. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const find = (id) => document.getElementById(id);

/** Sets a text; an unchanged one is left alone, so that a selection or a screen reader is not disturbed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A figure with its exact value beside the rounded one. */
export function figure(element, value, text) {
  const data = element.firstElementChild ?? element.appendChild(make('data'));
  data.value = value ?? '';
  say(data, text);
}

/** A button that looks like a link and names a key. */
export function keyButton(key, look) {
  return make('button', { type: 'button', class: 'link key', title: key, onclick: () => look(key) }, key);
}

/** Makes as many rows of as many cells as wanted, and keeps those that are there. */
export function rows(body, wanted, cells) {
  while (body.rows.length > wanted) body.deleteRow(-1);
  while (body.rows.length < wanted) body.append(cells());
  return body.rows;
}
