// What a training reached, which labels may be wrong, and exports.

import { make } from "./answers.js";
import { change } from "./images.js";
import { at, showCommand, state, thumb, view } from "./server.js";
import { epochsView, isBusy, number, renderJob, start } from "./training.js";

const runOf = () => state.project.runs.find((run) => run.number === state.run) ?? null;

/* The run that is shown: the one that was chosen, else the newest with a model. */
export const chooseRun = () => {
  const usable = state.project.runs.filter((run) => run.has_model && run.is_finished);
  if (!usable.some((run) => run.number === state.run)) state.run = usable[0]?.number ?? null;
  const select = at("run");
  const now = JSON.stringify([state.project.name, usable.map((run) => run.number)]);
  if (select.dataset.key !== now) {
    select.dataset.key = now;
    select.replaceChildren(...usable.map((run) => {
      const option = make("option", run.number);
      option.value = run.number;
      return option;
    }));
  }
  select.value = state.run ?? "";
  at("run-choice").hidden = usable.length < 2;
  for (const id of ["results", "try", "labels", "export"]) at(id).hidden = state.run === null;
};

const tile = (value, label, note) => {
  const item = make("li", "", "tile");
  item.append(make("span", value, "value"), make("span", label, "label"), make("span", note, "note"));
  return item;
};

const matrix = (classes, confusion) => {
  const table = make("table", "", "matrix");
  const head = make("tr");
  head.append(make("td"), ...classes.map((name) => make("th", name)));
  const rows = confusion.map((counts, row) => {
    const line = make("tr");
    const total = counts.reduce((sum, count) => sum + count, 0);
    line.append(make("th", classes[row]), ...counts.map((count, column) => {
      const cell = make("td", count ? number(count) : "·", row === column ? "right" : count ? "wrong" : "");
      cell.style.setProperty("--share", total ? count / total : 0);
      return cell;
    }));
    return line;
  });
  table.append(head, ...rows);
  const box = make("div", "", "scroll");
  box.append(table);
  return box;
};

const block = (title, ...parts) => {
  const box = make("div", "", "block");
  box.append(make("h3", title), ...parts);
  return box;
};

/* Buttons that move an image to another class, or leave it where it is. */
const mover = (path, to, say, ...others) => {
  const buttons = make("div", "", "buttons");
  const move = make("button", `Move to ${to}`, "button");
  move.type = "button";
  move.setAttribute("aria-label", `Move ${path} to ${to}`);
  move.addEventListener("click", async () => {
    if (await change({ change: "move-images", images: [path], to }, say)) say(`${path} is now in ${to}. Train again to learn from it.`);
  });
  buttons.append(move, ...others);
  return buttons;
};
const isThere = (path) => {
  const [label, name] = path.split("/");
  return state.project.classes.some((one) => one.name === label && one.images.includes(name));
};

const wrongCard = ({ path, label, predicted, prob }, say) => {
  const card = make("li", "", "card");
  const said = make("p");
  said.append("labeled ", make("strong", label), ", predicted ", make("strong", predicted), ` (${prob})`);
  card.append(thumb(path), said);
  if (isThere(path)) card.append(mover(path, predicted, say));
  else card.append(make("p", "Moved or removed since.", "muted"));
  return card;
};

export const renderResults = () => {
  const run = runOf();
  if (!run) return;
  const stored = state.project.results.train?.[run.number];
  const key = JSON.stringify([state.project.name, run, stored, state.project.stamp]);
  if (at("result").dataset.key === key) return;
  at("result").dataset.key = key;
  const link = make("a", "Open the whole report");
  Object.assign(link, { href: view("pages", `report-${run.number}`), target: "_blank", rel: "noopener" });
  const links = make("p", "", "status");
  if (run.has_report) links.append(link);
  if (!stored) {
    at("result").replaceChildren(make("p", `Training ${run.number} was run in a terminal; its report has the results.`), links);
    return;
  }
  const { result, epochs, stamp, command } = stored;
  const parts = [];
  if (stamp && stamp !== state.project.stamp) {
    const note = make("p", "The images have changed since this training. Train again to learn from the changes.");
    const box = make("div", "", "notice");
    box.append(note);
    parts.push(box);
  }
  const tiles = make("ul", "", "tiles");
  const images = `${number(result.num_images)} ${result.split} image${result.num_images === 1 ? "" : "s"}`;
  tiles.append(
    tile(result.score, `of the ${result.split} images are right`, `likely ${result.interval} on new images (95 % interval)`),
    tile(`${number(result.num_wrong)} of ${number(result.num_images)}`, "wrong", result.split === "test" ? "images that the training never used" : "images that also chose the model"),
    tile(number(result.num_train), "images trained on", result.mode === "frozen" ? "the last layer learned" : "the whole network learned"),
    tile(result.took, "training", result.kept),
  );
  parts.push(tiles, links);
  if (result.confusion) parts.push(block("Confusion matrix", make("p", "Rows: true class. Columns: predicted class.", "muted"), matrix(result.classes, result.confusion)));
  const say = (text) => { status.textContent = text; };
  const status = make("p", "", "status");
  status.setAttribute("role", "status");
  if (result.wrong.length) {
    const list = make("ul", "", "gallery");
    list.append(...result.wrong.map((one) => wrongCard(one, say)));
    parts.push(block(`Wrong, the most confident first (${result.num_wrong})`, list, status));
  } else parts.push(block("Wrong", make("p", `None of the ${images}.`, "muted")));
  if (epochs.length) {
    const details = make("details");
    details.append(make("summary", "How it learned"), epochsView(epochs));
    parts.push(details);
  }
  const place = make("div");
  showCommand(place, command, false);
  place.querySelector("summary").textContent = "The command of this training";
  parts.push(place);
  at("result").replaceChildren(...parts);
};

const suspectCard = ({ path, label, suggested, suggested_prob: prob }, say) => {
  const card = make("li", "", "card");
  const said = make("p");
  said.append("labeled ", make("strong", label), ", looks like ", make("strong", suggested), ` (${(100 * prob).toFixed(1)} %)`);
  const keep = make("button", `It is ${label}`, "button");
  keep.type = "button";
  keep.setAttribute("aria-label", `${path} is ${label}`);
  keep.addEventListener("click", async () => {
    if (await change({ change: "accept-labels", images: [path] }, say)) say(`${path} stays in ${label}.`);
  });
  card.append(thumb(path), said, mover(path, suggested, say, keep));
  return card;
};

export const renderLabels = () => {
  if (!runOf()) return;
  renderJob("audit", "labels");
  at("labels-run").disabled = isBusy() && state.job.kind !== "inspect";
  showCommand(at("labels-command"), state.project.run_commands[state.run]?.audit, false);
  const found = state.project.results.audit;
  const accepted = new Set(state.project.results.accepted?.images ?? []);
  const key = JSON.stringify([state.project.name, found, state.project.stamp, [...accepted]]);
  if (at("suspects").dataset.key === key) return;
  at("suspects").dataset.key = key;
  at("labels-count").textContent = "";
  at("suspects").replaceChildren();
  if (!found) return;
  const { likely_wrong: likely, num_judged: num } = found.result.label_audit;
  const open = likely.filter((one) => isThere(one.path) && !accepted.has(one.path));
  at("labels-count").textContent = `${number(num)} labels checked`;
  const say = (text) => { at("labels-status").textContent = text; };
  if (!likely.length) at("suspects").append(make("p", "No label looks wrong.", "fine-panel"));
  else if (!open.length) at("suspects").append(make("p", "All suspicious labels have been reviewed.", "fine-panel"));
  const list = make("ul", "", "gallery");
  list.append(...open.slice(0, 60).map((one) => suspectCard(one, say)));
  at("suspects").append(list);
  const page = found.result.written.find((path) => path.endsWith(".html")).split("/").at(-1).replace(".html", "");
  const link = make("a", "All details on a page");
  Object.assign(link, { href: view("pages", `labels-${page}`), target: "_blank", rel: "noopener" });
  const line = make("p", "", "status");
  line.append(link);
  at("suspects").append(line);
};

export const renderExports = () => {
  if (!runOf()) return;
  renderJob("export");
  at("export-run").disabled = isBusy() && state.job.kind !== "inspect";
  showCommand(at("export-command"), state.project.run_commands[state.run]?.[`export-${at("format").value}`]);
  const rows = state.project.exports.map(({ file, size }) => [file, size, view("files", file)]);
  rows.push([`model of training ${state.run}`, "for resnet-cli", view("files", `model-${state.run}`)]);
  const key = JSON.stringify([state.project.name, rows]);
  if (at("exports").dataset.key === key) return;
  at("exports").dataset.key = key;
  at("exports").replaceChildren(...rows.map(([name, size, href]) => {
    const item = make("li");
    const link = make("a", `Download ${name}`);
    Object.assign(link, { href, download: "" });
    item.append(link, make("span", size, "muted"));
    return item;
  }));
};

export const setUpResults = (changed) => {
  at("run").addEventListener("change", () => {
    state.run = at("run").value;
    changed();
  });
  at("labels-run").addEventListener("click", async () => { if (await start("audit", { run: state.run }, "labels")) changed(); });
  at("export-run").addEventListener("click", async () => {
    if (await start("export", { run: state.run, format: at("format").value })) changed();
  });
  at("format").addEventListener("change", renderExports);
};
