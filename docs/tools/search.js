// SPDX-License-Identifier: BSD-3-Clause
// Search through FOUND, of found.js: [title, where, text]. All words must be there; titles come before texts, and the
// shortest title first.
const MOST = 30;

function rank([title, , text], words) {
    const name = title.toLowerCase(), all = name + ' ' + text.toLowerCase();
    if (!words.every(word => all.includes(word)))
        return Infinity;
    const inside = words.every(word => name.includes(word)) ? 0 : 1000;
    return inside + name.length;
}

function show(query) {
    const words = query.toLowerCase().split(/\s+/).filter(word => word), list = document.getElementById('found');
    list.replaceChildren();
    if (!words.length)
        return;
    const ranked = FOUND.map(entry => [rank(entry, words), entry]).filter(([at]) => at < Infinity);
    ranked.sort(([a], [b]) => a - b);
    for (const [, [title, where, text]] of ranked.slice(0, MOST)) {
        const item = document.createElement('li'), link = document.createElement('a');
        const page = document.createElement('small');
        link.href = where;
        link.textContent = title;
        page.textContent = text || where;
        item.append(link, page);
        list.append(item);
    }
}

const field = document.getElementById('search');
field.addEventListener('input', () => show(field.value));
document.addEventListener('keydown', event => {
    if (event.key === '/' && document.activeElement !== field) {
        event.preventDefault();
        field.focus();
    }
});
