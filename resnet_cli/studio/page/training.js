// The check of the images and the training: started, watched live, cancelled.

import { make, percent } from "./answers.js";
import { api, at, post, sentence, showCommand, state, thumb, view } from "./server.js";

const number = (value) => value.toLocaleString("en");
export const duration = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);
export const isBusy = () => state.job !== null && ["running", "stopping"].includes(state.job.state);

/* Starts work of one kind; what refuses it is shown in the place of that kind. */
export const start = async (kind, options = {}, place = kind) => {
  try {
    const { job } = await post(api("/jobs"), { kind, ...options });
    state.job = job;
    return true;
  } catch (error) {
    const box = at(`${place}-job`);
    box.hidden = false;
    box.className = "notice bad";
    box.replaceChildren(make("p", error.message));
    return false;
  }
};

const svg = (tag, attributes, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};

/* Losses by epoch: [width x height] with axes, one line for each kind. */
const lossChart = (epochs) => {
  const [width, height, left, bottom, top] = [360, 190, 42, 26, 10];
  const values = epochs.flatMap((one) => [one.train_loss, one.val_loss]).filter(Number.isFinite);
  const most = Math.max(...values, 1e-6) * 1.08;
  const x = (index) => left + (index + 0.5) * (width - left - 8) / epochs.length;
  const y = (value) => top + (1 - value / most) * (height - top - bottom);
  const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": "Loss by epoch" });
  for (const share of [0, 0.5, 1]) {
    const value = most / 1.08 * share;
    chart.append(svg("line", { class: "axis", x1: left, x2: width, y1: y(value), y2: y(value) }));
    chart.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)));
  }
  const step = Math.ceil(epochs.length / 8);
  for (const [index, one] of epochs.entries()) {
    if (index % step === 0) chart.append(svg("text", { x: x(index), y: height - 8, "text-anchor": "middle" }, one.penalty ?? one.number));
  }
  for (const [kind, name] of [["train_loss", "train"], ["val_loss", "val"]]) {
    const points = epochs.map((one, index) => [x(index), y(one[kind])]);
    chart.append(svg("polyline", { class: `line ${name}-ink`, points: points.map((point) => point.join(",")).join(" ") }));
    for (const [cx, cy] of points) chart.append(svg("circle", { class: `dot ${name}-ink`, cx, cy, r: 3.5 }));
  }
  return chart;
};

/* The epochs so far as a table and, from two on, as a chart. */
export const epochsView = (epochs) => {
  const isPenalty = epochs.some((one) => one.penalty !== null);
  const box = make("div", "", "live-results");
  const table = make("table", "", "epochs");
  const head = make("tr");
  for (const text of [isPenalty ? "Penalty" : "Epoch", "Train loss", "Calibrated loss", "Validation"]) head.append(make("th", text));
  const rows = epochs.map((one) => {
    const row = make("tr", "", one.is_kept ? "is-kept" : "");
    const texts = [String(one.penalty ?? one.number), one.train_loss?.toFixed(3) ?? "", one.val_loss.toFixed(3), one.text];
    row.append(...texts.map((text) => make("td", text)));
    if (one.is_kept) row.append(make("td", "kept"));
    return row;
  });
  table.append(head, ...rows);
  const tableBox = make("div", "", "scroll");
  tableBox.append(table);
  if (epochs.length < 2) return tableBox;
  const side = make("div");
  const legend = make("p", "", "legend");
  for (const [name, text] of [["train", "train loss"], ["val", "calibrated validation loss"]]) {
    const entry = make("span");
    entry.append(make("i", "", `${name}-ink`), text);
    legend.append(entry);
  }
  side.append(lossChart(epochs), legend);
  box.append(side, tableBox);
  return box;
};

const ENDS = {
  stopped: (job) => (job.message ? `Stopped: ${job.message}` : "Stopped. Nothing was saved."),
  failed: (job) => sentence(job.message),
  killed: (job) => sentence(job.message),
};

const cancelButton = (job) => {
  const button = make("button", job.state === "stopping" ? "Stop at once" : "Cancel", "button small");
  button.type = "button";
  button.id = `cancel-${job.kind}`;
  button.addEventListener("click", () => post("api/cancel", { now: job.state === "stopping" }));
  return button;
};

const runningView = (job, box) => {
  const line = make("p", "", "job-line");
  const doing = job.state === "stopping" ? "Stopping: the current step is finished and saved" : `${sentence(job.doing).slice(0, -1)} …`;
  const amount = job.total ? `${number(job.done)} of ${number(job.total)}` : "";
  const said = make("span", doing);
  said.setAttribute("role", "status");
  line.append(said, make("span", [amount, duration(job.seconds)].filter(Boolean).join(" · "), "count"));
  const track = make("div", "", job.total ? "track" : "track unknown");
  const fill = make("div", "", "fill");
  if (job.total) fill.style.setProperty("--share", `${100 * job.done / job.total}%`);
  track.append(fill);
  Object.entries({ role: "progressbar", "aria-label": doing, "aria-valuemin": 0, "aria-valuemax": 100 })
    .forEach(([name, value]) => track.setAttribute(name, value));
  if (job.total) track.setAttribute("aria-valuenow", Math.round(100 * job.done / job.total));
  const buttons = make("div", "", "buttons");
  buttons.append(cancelButton(job));
  box.className = "job";
  // What a screen reader has read must not be read again, and a button must keep its focus.
  if (box.dataset.job === `${job.number}-${job.state}`) {
    const old = box.querySelector("[role=status]");
    if (old.textContent !== doing) old.textContent = doing;
    box.querySelector(".count").textContent = line.querySelector(".count").textContent;
    box.querySelector(".track").replaceWith(track);
  } else {
    box.dataset.job = `${job.number}-${job.state}`;
    box.replaceChildren(line, track, make("div", "", "epochs-place"), make("div", "", "warnings-place"), buttons);
  }
  if (job.epochs.length) box.querySelector(".epochs-place").replaceChildren(epochsView(job.epochs));
  if (job.warnings.length) box.querySelector(".warnings-place").replaceChildren(warningsView(job.warnings));
};

const warningsView = (warnings) => {
  const list = make("ul", "", "warnings");
  list.append(...warnings.map((text) => make("li", sentence(text))));
  return list;
};

/* A command in the place of its kind: running, or how it ended if it did not end well. */
export const renderJob = (kind, place = kind) => {
  const box = at(`${place}-job`);
  const job = state.job?.kind === kind && state.job.project === state.project?.name ? state.job : null;
  box.hidden = !job || job.state === "done";
  if (box.hidden) {
    delete box.dataset.job;
    box.replaceChildren();
    return;
  }
  if (["running", "stopping"].includes(job.state)) {
    runningView(job, box);
    return;
  }
  if (box.dataset.job === `${job.number}-${job.state}`) return;
  box.dataset.job = `${job.number}-${job.state}`;
  box.replaceChildren(...endView(job));
  box.className = job.state === "stopped" ? "notice" : "notice bad";
};

const endView = (job) => {
  const said = make("p", ENDS[job.state](job));
  said.setAttribute("role", "alert");
  const parts = [said];
  if (job.hint) parts.push(job.code === "bug" ? make("pre", job.hint) : make("p", sentence(job.hint)));
  return parts;
};

export const renderCheck = () => {
  renderJob("inspect", "check");
  const found = state.project.results.inspect;
  at("check-run").disabled = isBusy() || !state.project.classes.some((one) => one.images.length);
  showCommand(at("check-command"), state.project.commands.inspect, false);
  const key = JSON.stringify([state.project.name, found, state.project.stamp]);
  if (at("findings").dataset.key === key) return;
  at("findings").dataset.key = key;
  at("check-count").textContent = "";
  at("findings").replaceChildren();
  if (!found) return;
  const { findings, num_images: num } = found.result;
  at("check-count").textContent = found.stamp === state.project.stamp ? `${number(num)} images` : "before the last changes";
  if (!findings.length) at("findings").append(make("p", "No problems found.", "fine-panel"));
  const list = make("ul", "", "findings");
  list.append(...findings.map(findingView));
  at("findings").append(list);
  const link = make("a", "All details on a page");
  Object.assign(link, { href: view("pages", "inspection"), target: "_blank", rel: "noopener" });
  const line = make("p", "", "status");
  line.append(link);
  at("findings").append(line);
};

const RANKS = ["Fix first", "Worth a look", "Good to know"];
const findingView = ({ rank, text, fix, images }) => {
  const item = make("li", "", `finding rank${rank}`);
  item.append(make("span", RANKS[rank], "rank"), make("span", sentence(text), "message"));
  if (fix) item.append(make("span", sentence(fix), "fix muted"));
  if (images.length) {
    const thumbs = make("ul", "", "thumbs");
    thumbs.append(...images.slice(0, 12).map((path) => {
      const one = make("li", "", "thumb");
      one.title = path;
      one.append(thumb(path));
      return one;
    }));
    item.append(thumbs);
  }
  return item;
};

const recipe = () => document.querySelector("[name=recipe]:checked").value;
export const renderTraining = () => {
  renderJob("train");
  const filled = state.project.classes.filter((one) => one.images.length);
  const least = Math.min(...filled.map((one) => one.images.length));
  at("train-run").disabled = filled.length < 2 || (isBusy() && state.job.kind !== "inspect");
  let why = "";
  if (filled.length < 2) why = "Training needs images of at least two classes.";
  else if (isBusy() && state.job.kind !== "train" && state.job.kind !== "inspect") why = "Wait until the other work is finished, or cancel it: only one can run at a time.";
  else if (least < 10) why = `A class has only ${least} image${least === 1 ? "" : "s"}: more would make the results more reliable.`;
  at("train-why").textContent = why;
  showCommand(at("train-command"), state.project.commands[recipe()]);
  renderUnfinished();
};

/* After a reload: how the last training ended, and how to continue it. */
const renderUnfinished = () => {
  const last = state.project.results.failure;
  const job = state.job;
  const isShown = job?.kind === "train" && job.project === state.project.name && job.state !== "done";
  const box = at("train-job");
  if (last && !isShown) {
    box.hidden = false;
    box.className = last.state === "stopped" ? "notice" : "notice bad";
    box.replaceChildren(...endView(last));
  }
  const open = state.project.runs.find((run) => run.can_resume);
  if (!open || isBusy() || box.hidden || box.querySelector("#train-resume")) return;
  const button = make("button", "Continue that training", "button small");
  Object.assign(button, { type: "button", id: "train-resume" });
  button.addEventListener("click", () => start("resume", { run: open.number }, "train"));
  const place = make("div");
  showCommand(place, state.project.run_commands[open.number]?.resume, true);
  box.append(button, place);
};

export const setUpTraining = (changed) => {
  at("check-run").addEventListener("click", async () => { if (await start("inspect", {}, "check")) changed(); });
  at("train-run").addEventListener("click", async () => { if (await start("train", { recipe: recipe() })) changed(); });
  for (const radio of document.querySelectorAll("[name=recipe]")) radio.addEventListener("change", renderTraining);
};
export { number, percent };
