  const image = ([at, , , prob, name, src, isTiny, link]) => {
    const figure = make("figure");
    const known = src === "" ? document.querySelector(`img[data-at="${at}"]`) : null;
    if (src === "gone" || (src === "" && !known)) {
      figure.append(make("span", "cannot be read", "shot gone"));
    } else {
      const image = make("img", "", known ? known.className : isTiny ? "shot tiny" : "shot");
      image.src = known ? known.src : `data:image/jpeg;base64,${src}`;
      image.alt = name;
      image.title = name;
      figure.append(image);
    }
    const caption = make("figcaption");
    caption.append(make("b", percent(prob)), fileName(name, link));
    caption.title = name;
    figure.append(caption);
    return figure;
  };

  let marked = null;
  const choose = (row, column, isAsked) => {
    const cell = document.getElementById("cell");
    const num = count(row, column);
    const title = make("h3");
    title.append(make("bdi", data.classes[row]));
    if (row !== column) title.append(make("span", " → ", "arrow"), make("bdi", data.classes[column]));
    const said = make("p");
    said.append(...about(row, column), ".");
    document.getElementById("cell-about").replaceChildren(title, said);
    const order = row === column ? 1 : -1;
    const found = data.images.filter((entry) => entry[1] === row && entry[2] === column)
      .sort((one, other) => order * (one[3] - other[3]));
    const thumbs = make("div", "", "thumbs");
    thumbs.append(...found.map(image));
    const parts = [thumbs];
    if (found.length) {
      const which = found.length < num ? `${number(found.length)} of them, ` : "";
      parts.unshift(make("p", `${which}${row === column ? "lowest confidence first" : "highest confidence first"}`, "count"));
    }
    const names = data.names[`${row},${column}`] ?? [];
    const left = num - found.length - names.length;
    if (names.length) {
      const list = make("p", "Also: ", "small");
      names.forEach((name, index) => list.append(index ? ", " : "", make("bdi", name)));
      if (left > 0) list.append(` and ${number(left)} more`);
      parts.push(list);
    }
    document.getElementById("cell-images").replaceChildren(...parts);
    if (grid) {
      marked?.setAttribute("aria-selected", "false");
      marked = at(row, column);
      marked.setAttribute("aria-selected", "true");
    } else {
      place(map.querySelector(".chosen"), row, column);
    }
    if (isAsked) cell.scrollIntoView({ block: "nearest" });
  };

  const at = (row, column) => grid.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const inside = (value) => Math.min(size - 1, Math.max(0, value));
  const moved = (event, row, column) => {
    if (moves[event.key]) return [inside(row + moves[event.key][0]), inside(column + moves[event.key][1])];
    if (event.key === "Home") return [event.ctrlKey ? 0 : row, 0];
    if (event.key === "End") return [event.ctrlKey ? size - 1 : row, size - 1];
    return null;
  };
  const place = (square, row, column) => {
    const side = Math.max(1, size / 160);
    Object.entries({ x: column - (side - 1) / 2, y: row - (side - 1) / 2, width: side, height: side })
      .forEach(([name, value]) => square.setAttribute(name, value));
    square.removeAttribute("hidden");
  };

  if (grid) {
    const cellOf = (event) => event.target.closest?.("td.cell");
    const where = (cell) => [Number(cell.dataset.row), Number(cell.dataset.column)];
    const tell = (event) => {
      const cell = cellOf(event);
      if (cell) showTipAt(about(...where(cell)), cell);
    };
    grid.addEventListener("pointerover", tell);
    grid.addEventListener("focusin", tell);
    grid.addEventListener("pointerleave", hideTip);
    grid.addEventListener("focusout", hideTip);
    grid.addEventListener("click", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      cell.focus({ preventScroll: true });
      choose(...where(cell), true);
    });
    grid.addEventListener("focusin", (event) => {
      grid.querySelector('td[tabindex="0"]')?.setAttribute("tabindex", "-1");
      cellOf(event)?.setAttribute("tabindex", "0");
    });
    grid.addEventListener("keydown", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      if (event.key === "Enter" || event.key === " ") choose(...where(cell), true);
      else if (event.key === "Escape") hideTip();
      else {
        const next = moved(event, ...where(cell));
        if (!next) return;
        at(...next).focus({ preventScroll: true });
        at(...next).scrollIntoView({ block: "nearest", inline: "nearest" });
      }
      event.preventDefault();
    });
  }

  if (map) {
    let here = [0, 0];
    const cursor = map.querySelector(".cursor");
    const go = (row, column) => {
      here = [row, column];
      place(cursor, row, column);
      showTip(about(row, column), () => {
        const box = map.getBoundingClientRect();
        const unit = box.width / size;
        const top = box.top + row * unit;
        return { left: box.left + column * unit, width: unit, top, bottom: top + unit };
      });
    };
    // A single cell of hundreds is hard to hit: take the nearest one that has images.
    const reach = Math.round(size / 100);
    const nearest = (row, column) => {
      let best = [row, column];
      let least = Infinity;
      for (let r = row - reach; r <= row + reach; r++) {
        for (let c = column - reach; c <= column + reach; c++) {
          const far = (r - row) ** 2 + (c - column) ** 2;
          if (r >= 0 && c >= 0 && r < size && c < size && count(r, c) && far < least) [best, least] = [[r, c], far];
        }
      }
      return best;
    };
    const under = (event) => {
      const box = map.getBoundingClientRect();
      const [row, column] = [event.clientY - box.top, event.clientX - box.left].map((px) => inside(Math.floor((px / box.width) * size)));
      return nearest(row, column);
    };
    map.addEventListener("pointermove", (event) => go(...under(event)));
    map.addEventListener("pointerleave", hideTip);
    map.addEventListener("blur", hideTip);
    map.addEventListener("focus", () => { if (map.matches(":focus-visible")) go(...here); });
    map.addEventListener("click", (event) => { go(...under(event)); choose(...here, true); });
    map.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") choose(...here, true);
      else if (event.key === "Escape") hideTip();
      else {
        const next = moved(event, ...here);
        if (!next) return;
        go(...next);
        document.getElementById("said").textContent = tip.textContent;
      }
      event.preventDefault();
    });
  }

  document.querySelectorAll("[data-pair]").forEach((button) => button.addEventListener("click", () => {
    choose(...button.dataset.pair.split(",").map(Number), true);
  }));
