/** What a browser gets: the page, its style and its script. Everything people wrote is escaped. */
import { MAX_NAME_CHARACTERS, MAX_TEXT_CHARACTERS, type Entry } from './entry.ts';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text as it may stand in HTML content and in quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
}

export interface PageOptions {
  /** Newest first. */
  readonly entries: readonly Entry[];
  /** One sentence above the form. */
  readonly notice?: string;
}

/** The whole page; it works without the script. */
export function renderPage({ entries, notice }: PageOptions): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Guestbook</title>
<link rel="stylesheet" href="/style.css">
<script src="/page.js" defer></script>
</head>
<body>
<main>
<header>
<h1>Guestbook</h1>
<p>This page runs on one machine and its database on another. They meet only as <code>db.guestbook.internal</code>.</p>
<p class="live" aria-live="polite"><span id="reading">&nbsp;</span> <button id="wave" type="button" hidden>Wave 👋</button></p>
</header>
${notice === undefined ? '' : `<p class="notice" role="status">${escapeHtml(notice)}</p>\n`}<form method="post" action="/entries">
<label>Name <input name="name" required maxlength="${MAX_NAME_CHARACTERS}" autocomplete="name"></label>
<label>Message <textarea name="text" required maxlength="${MAX_TEXT_CHARACTERS}" rows="3"></textarea></label>
<button>Sign the book</button>
</form>
<ol id="entries" reversed>
${entries.map(renderEntry).join('\n')}
</ol>
</main>
</body>
</html>
`;
}

function renderEntry(entry: Entry): string {
  const time = escapeHtml(entry.time);
  return `<li id="entry-${entry.number}"><p>${escapeHtml(entry.text)}</p><footer>${escapeHtml(entry.name)} · <time datetime="${time}">${time.slice(0, 16).replace('T', ' ')}</time></footer></li>`;
}

export const STYLE = `:root { color-scheme: light dark; --edge: light-dark(#d9dde3, #363b44); --soft: light-dark(#5b6470, #9aa4b2); --card: light-dark(#ffffff, #1c2027); --accent: light-dark(#0b6e5f, #4fd1b5); }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; background: light-dark(#f4f6f8, #14171c); }
main { max-width: 40rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { margin: 0 0 .25rem; }
header p { margin: 0 0 .5rem; color: var(--soft); }
.live { min-height: 2.2rem; }
form, li { background: var(--card); border: 1px solid var(--edge); border-radius: .75rem; padding: 1rem; }
form { display: grid; gap: .75rem; margin-bottom: 1.5rem; }
label { display: grid; gap: .25rem; font-weight: 600; }
input, textarea { font: inherit; padding: .5rem .6rem; border: 1px solid var(--edge); border-radius: .5rem; background: transparent; color: inherit; resize: vertical; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
button { font: inherit; font-weight: 600; justify-self: start; padding: .5rem 1rem; border: 0; border-radius: .5rem; background: var(--accent); color: light-dark(#fff, #10241f); cursor: pointer; }
.live button { padding: .15rem .6rem; font-weight: 400; }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem; }
li p { margin: 0 0 .25rem; white-space: pre-wrap; overflow-wrap: anywhere; }
li footer { color: var(--soft); font-size: .875rem; }
.notice { padding: .75rem 1rem; border-left: 4px solid #d97706; background: var(--card); }
.new { animation: arrive 1.2s ease-out; }
@keyframes arrive { from { border-color: var(--accent); transform: translateY(-.5rem); opacity: .3; } }
@media (prefers-reduced-motion: reduce) { .new { animation: none; } }
`;

export const SCRIPT = `'use strict';
const list = document.getElementById('entries');
const reading = document.getElementById('reading');
const wave = document.getElementById('wave');

const show = (entry) => {
  if (document.getElementById('entry-' + entry.number)) return;
  const item = document.createElement('li');
  item.id = 'entry-' + entry.number;
  item.className = 'new';
  const text = document.createElement('p');
  text.textContent = entry.text;
  const time = document.createElement('time');
  time.dateTime = entry.time;
  time.textContent = entry.time.slice(0, 16).replace('T', ' ');
  const footer = document.createElement('footer');
  footer.append(entry.name + ' · ', time);
  item.append(text, footer);
  list.prepend(item);
};

const events = new EventSource('/events');
events.addEventListener('entry', (event) => show(JSON.parse(event.data)));

document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const answer = await fetch('/entries', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(Object.fromEntries(new FormData(form))),
  });
  if (!answer.ok) return alert((await answer.json()).error.message);
  show((await answer.json()).entry);
  form.elements.text.value = '';
});

let backoffMs = 500;
const live = () => {
  const socket = new WebSocket(location.origin.replace('http', 'ws') + '/live');
  socket.onopen = () => { backoffMs = 500; wave.hidden = false; wave.onclick = () => socket.send('{"type":"wave"}'); };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.type === 'reading') reading.textContent = message.count === 1 ? 'Only you are reading.' : message.count + ' people are reading.';
    if (message.type === 'wave') { reading.textContent = 'Someone waves 👋'; }
  };
  socket.onclose = () => {
    wave.hidden = true;
    setTimeout(live, backoffMs);
    backoffMs = Math.min(backoffMs * 2, 10000);
  };
};
live();
`;
