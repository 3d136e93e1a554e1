"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const size = data.classes.length;
  const counts = new Map(data.cells.map(([row, column, num]) => [row * size + column, num]));
  const grid = document.getElementById("grid");
  const map = document.getElementById("map");
  const tip = document.getElementById("tip");
  const make = (tag, text = "", className = "") => {
    const element = document.createElement(tag);
    element.textContent = text;
    element.className = className;
    return element;
  };
  const count = (row, column) => counts.get(row * size + column) ?? 0;
  const number = (value) => value.toLocaleString("en");
  const percent = (part) => `${(100 * part).toFixed(1)}\u00a0%`;

  // Names of unknown origin are put into <bdi>, so that one written from right to left does not reorder its sentence.
  const about = (row, column) => {
    const num = count(row, column);
    const all = data.support[row];
    const share = all ? ` (${percent(num / all)})` : "";
    const end = row === column ? [" are classified correctly"] : [" are predicted as ", make("bdi", data.classes[column])];
    return [`${number(num)} of ${number(all)} images of `, make("bdi", data.classes[row]), ...end, share];
  };

  let tipBox = null;
  const placeTip = () => {
    if (tip.hidden) return;
    const box = tipBox();
    const own = tip.getBoundingClientRect();
    const left = Math.min(box.left + box.width / 2 - own.width / 2, innerWidth - own.width - 8);
    const above = box.top - own.height - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  };
  const showTip = (content, box) => {
    tip.replaceChildren(...content);
    tip.hidden = false;
    tipBox = box;
    placeTip();
  };
  const showTipAt = (content, element) => showTip(content, () => element.getBoundingClientRect());
  const hideTip = () => { tip.hidden = true; };
  addEventListener("scroll", placeTip, { passive: true, capture: true });
  const fileName = (name, link) => {
    const line = make("p", "", "name");
    const text = make("bdi", name.split("/").pop());
    if (link) {
      const anchor = make("a", "", "name");
      anchor.href = link;
      anchor.append(text);
      line.append(anchor);
    } else {
      line.append(text);
    }
    line.title = name;
    return line;
  };

