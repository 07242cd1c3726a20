// The server: requests with the key, errors as text for people, events of a job.
let key = sessionStorage.getItem('kptalk.key') || '';

export const currentKey = () => key;
export function setKey(value) {
  key = value;
  sessionStorage.setItem('kptalk.key', value);
}

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set('Authorization', `Bearer ${key}`);
  let answer;
  try {
    answer = await fetch(path, {...options, headers});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'offline', 'The server does not answer.');
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  const message = told.error?.message || `The server answered ${answer.status}.`;
  throw new ApiError(answer.status, told.error?.code || 'error', sentence(message));
}

export const json = async (path, options) => (await request(path, options)).json();

// A message of the library as a sentence of the page.
export const sentence = text => text ? text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.') : '';

// The video object whenever it changes, until it is final; by fetch, since an EventSource sends no key.
export async function* events(id, signal) {
  const answer = await request(`v1/videos/${id}/events`, {signal});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    const parts = (text + value).split('\n\n');
    text = parts.pop();
    for (const part of parts) {
      const data = part.split('\n').find(line => line.startsWith('data: '));
      if (data) yield JSON.parse(data.slice(6));
    }
  }
}

// An address that an element can load without sending the key.
export const local = async path => URL.createObjectURL(await (await request(path)).blob());
