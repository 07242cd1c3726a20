// The videos that were made here before, the newest first.
import {json, local, request} from './api.js';
import {clock} from './voice.js';

const $ = id => document.getElementById(id);
const WORDS = {queued: 'Waiting', in_progress: 'In the making', failed: 'Failed', cancelled: 'Cancelled', expired: 'Expired'};
const when = new Intl.DateTimeFormat('en', {dateStyle: 'medium', timeStyle: 'short'});

function button(text, label, work) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  made.setAttribute('aria-label', label);
  made.onclick = work;
  return made;
}

export class History {
  constructor(watch, download) {
    Object.assign(this, {watch, download, pictures: new Map()});
    $('more').onclick = () => this.load(this.last);
  }

  async load(after = '') {
    const page = await json(`v1/videos?limit=12${after && `&after=${after}`}`).catch(() => null);
    if (!page) return;
    const items = page.data.map(job => this.item(job));
    after ? $('videos').append(...items) : $('videos').replaceChildren(...items);
    this.last = page.last_id;
    $('more').hidden = !page.has_more;
    $('history').hidden = !$('videos').children.length;
  }

  item(job) {
    const item = document.createElement('li'), text = document.createElement('p'), about = document.createElement('small');
    const row = document.createElement('div'), time = when.format(1000 * job.created_at), done = job.status === 'completed';
    const picture = document.createElement(done ? 'img' : 'div');
    picture.className = done ? '' : 'blank';
    item.dataset.id = job.id;
    if (done) {
      picture.alt = '';
      this.picture(job.id).then(address => { picture.src = address; }).catch(() => {});
    }
    text.textContent = time;
    about.textContent = done ? `${clock(Number(job.seconds))} · ${job.size?.replace('x', ' × ')}` : job.error?.message || WORDS[job.status];
    text.append(about);
    row.className = 'row';
    const active = job.status === 'queued' || job.status === 'in_progress';
    if (done || active) row.append(button(active ? 'Watch' : 'Play', `Play the video of ${time}`, () => this.watch(job)));
    if (done) row.append(button('Save', `Download the video of ${time}`, () => this.download(job.id)));
    row.append(button(active ? 'Cancel' : 'Delete', `${active ? 'Cancel' : 'Delete'} the video of ${time}`, async () => {
      await request(`v1/videos/${job.id}`, {method: 'DELETE'}).catch(() => {});
      await this.load();
      $('history-title').tabIndex = -1;
      $('history-title').focus();
    }));
    item.append(picture, text, row);
    return item;
  }

  picture(id) {
    if (!this.pictures.has(id)) this.pictures.set(id, local(`v1/videos/${id}/content?variant=thumbnail`));
    return this.pictures.get(id);
  }
}
