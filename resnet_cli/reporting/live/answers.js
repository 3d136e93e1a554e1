// One card per image with its prediction, the newest first. Used by the page of `serve` and by `studio`.

export const make = (tag, text = "", kind = "") => {
  const made = document.createElement(tag);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/* Shows predictions in `list`, and says them in `status`.
   `predict(form, topk)` asks the server; `describe()` asks it for the task and calls `setTask`. */
export const answering = ({ list, status, predict, describe, failure }) => {
  // Fast clicks must not fill the server's queue: one image at a time, in order.
  const waiting = [];
  let isWorking = false;
  // How the model's task is shown, and the least probability at which each class is predicted, if it ever is.
  let kind = null;
  let least = new Map();

  const bars = (topk, decorate = () => {}) => {
    const list = make("ol", "", "bars");
    for (const { label, prob } of topk) {
      const item = make("li");
      const bar = make("span", "", "bar");
      bar.style.setProperty("--share", percent(prob).replace(" ", ""));
      bar.setAttribute("aria-hidden", "true");
      item.append(make("bdi", label), make("span", percent(prob), "share"), bar);
      decorate(item, bar, label);
      list.append(item);
    }
    return list;
  };

  const showError = (card, text) => {
    card.classList.add("is-error");
    card.querySelector(".said").replaceChildren(make("h2", "No prediction"), make("p", text, "why"));
    status.textContent = `No prediction: ${text}`;
  };

  const showAnswer = (card, answer) => {
    const said = card.querySelector(".said");
    const title = make("h2");
    title.append(make("bdi", answer.label));
    said.replaceChildren(title);
    if (answer.unknown === null) {
      title.append(" ", make("span", percent(answer.prob), "prob"));
      if (answer.unfamiliar) {
        card.classList.add("is-unfamiliar");
        said.append(make("p", "Unlike the training images: it may belong to none of the classes.", "why"));
      }
    } else {
      card.classList.add("is-unknown");
      said.append(make("p", `${answer.unknown}. If it is one of the classes after all:`, "why"));
    }
    said.append(bars(answer.topk));
    status.textContent = answer.unknown === null
      ? `${answer.name}: ${answer.label}, ${percent(answer.prob)}${answer.unfamiliar ? ", unlike the training images" : ""}`
      : `${answer.name}: unknown, ${answer.unknown}`;
    if (answer.explanation) offerExplanations(card, { [answer.topk[0].label]: answer.explanation });
  };

  const showLabels = (card, answer) => {
    const said = card.querySelector(".said");
    const title = make("h2", "", "labels");
    const found = (answer.labels ?? []).map((label, index) => ({ label, prob: answer.probs[index] }));
    if (answer.unknown !== null) {
      card.classList.add("is-unknown");
      title.textContent = "unknown";
    } else if (!found.length) {
      card.classList.add("is-none");
      title.textContent = "none of them";
    }
    for (const { label, prob } of found) {
      const chip = make("span", "", "found");
      chip.append(make("bdi", label), " ", make("span", percent(prob), "prob"));
      title.append(chip);
    }
    said.replaceChildren(title);
    if (answer.unknown !== null) {
      said.append(make("p", `${answer.unknown}. The most probable classes:`, "why"));
    } else if (answer.unfamiliar) {
      card.classList.add("is-unfamiliar");
      said.append(make("p", "Unlike the training images: the labels may be wrong.", "why"));
    }
    const others = answer.topk.filter(({ label }) => !found.some((one) => one.label === label));
    const shown = [...found, ...others].sort((a, b) => b.prob - a.prob);
    said.append(bars(shown, (item, bar, label) => {
      if (found.some((one) => one.label === label)) item.className = "is-chosen";
      const from = least.get(label);
      item.append(make("span", from === null ? "never predicted" : `threshold ${percent(from)}`, "from"));
      if (from === null) return;
      const mark = make("span", "", "mark");
      mark.style.setProperty("--at", `${100 * from}%`);
      bar.append(mark);
    }));
    const text = found.map(({ label, prob }) => `${label} ${percent(prob)}`).join(", ") || "none of them";
    status.textContent = `${answer.name}: `
      + (answer.unknown === null ? text : `unknown, ${answer.unknown}`)
      + (answer.unknown === null && answer.unfamiliar ? ", unlike the training images" : "");
    offerExplanations(card, answer.explanations);
  };

  const KINDS = {
    "single-label": { about: (classes) => `distinguishes ${classes}`, topk: 5, show: showAnswer },
    "multi-label": { about: (classes) => `decides for each of ${classes} whether an image shows it`, topk: 8, show: showLabels },
  };

  // One button per class; at most one of the heat maps is shown.
  const offerExplanations = (card, explanations) => {
    const image = card.querySelector("img");
    const plain = { src: image.src, alt: image.alt };
    const found = Object.entries(explanations);
    const name = (label, isOn) => {
      if (found.length > 1) return `Heat map: ${label}`;
      return isOn ? "Show the image" : "Show heat map";
    };
    const buttons = found.map(([label, source]) => {
      const button = make("button", name(label, false), "button");
      button.type = "button";
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => {
        const isOn = button.getAttribute("aria-pressed") !== "true";
        for (const [index, other] of buttons.entries()) {
          other.setAttribute("aria-pressed", String(isOn && other === button));
          other.textContent = name(found[index][0], isOn && other === button);
        }
        image.src = isOn ? source : plain.src;
        image.alt = isOn ? `${plain.alt}, light where the image supports ${label}` : plain.alt;
      });
      return button;
    });
    card.querySelector(".shown").append(...buttons);
  };

  const setTask = (task, classes, thresholds) => {
    kind = KINDS[task];
    least = new Map(classes.map((name, index) => [name, thresholds[index] ?? null]));
    return kind;
  };

  const look = async ({ card, file, name }) => {
    status.textContent = `Classifying ${name} …`;
    try {
      const form = new FormData();
      form.append("file", file, name);
      if (!kind) await describe();
      const { topk, show } = kind ?? KINDS["single-label"];
      const response = await predict(form, topk);
      if (response.ok) show(card, (await response.json()).predictions[0]);
      else showError(card, await failure(response));
      if (response.status === 401) await describe();
    } catch {
      showError(card, "the server cannot be reached, or the image cannot be read from this device");
    }
  };

  const add = (file) => {
    const name = file.name || "pasted image";
    const card = make("li", "", "answer");
    const shown = make("div", "", "shown");
    const image = make("img");
    image.src = URL.createObjectURL(file);
    image.alt = name;
    // Browsers cannot show a TIFF, which the server can read.
    image.addEventListener("error", () => { image.hidden = true; });
    image.addEventListener("load", () => { image.hidden = false; });
    shown.append(image);
    const side = make("div");
    const label = make("p", "", "name");
    label.append(make("bdi", name));
    const said = make("div", "", "said");
    said.append(make("p", "Looking …", "muted"));
    side.append(label, said);
    card.append(shown, side);
    list.prepend(card);
    waiting.push({ card, file, name });
  };

  const work = async (files) => {
    for (const file of files) add(file);
    if (isWorking) return;
    isWorking = true;
    while (waiting.length) await look(waiting.shift());
    isWorking = false;
  };

  return { work, setTask };
};
