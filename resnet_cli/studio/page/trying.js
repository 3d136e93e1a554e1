// Predictions for dropped photos, and live ones for what the camera sees.

import { answering, make, percent } from "./answers.js";
import { api, ask, at, failure, showCommand, state } from "./server.js";

let shownRun = "";
let live = null;

const address = (query = "") => api(`/runs/${state.run}/predict${query}`);
const predict = (form) => ask(address(), { method: "POST", body: form });
const describe = async () => {
  const response = await ask(address());
  if (!response.ok) {
    at("try-status").textContent = await failure(response);
    return;
  }
  const { task, classes, thresholds } = await response.json();
  answers.setTask(task, classes, thresholds);
};
const answers = answering({ list: at("answers"), status: at("try-status"), predict, describe, failure });

const showLive = ({ label, topk, unfamiliar }) => {
  const list = make("ol", "", "bars");
  for (const one of topk) {
    const item = make("li");
    const bar = make("span", "", "bar");
    bar.style.setProperty("--share", `${100 * one.prob}%`);
    bar.setAttribute("aria-hidden", "true");
    item.append(make("bdi", one.label), make("span", percent(one.prob), "share"), bar);
    list.append(item);
  }
  at("live").replaceChildren(list);
  at("camera-status").textContent = unfamiliar ? "Unlike the training images." : `This looks like ${label}.`;
};

const watch = async (camera) => {
  // One image at a time: a slow computer shows fewer of them per second.
  while (live === camera && camera.dialog.open) {
    if (!at("shoot").disabled) {
      const form = new FormData();
      form.append("file", await camera.takePhoto(), "camera.jpg");
      const response = await predict(form);
      if (live !== camera) return;
      if (response.ok) showLive((await response.json()).predictions[0]);
      else at("camera-status").textContent = await failure(response);
    }
    await new Promise((next) => setTimeout(next, 250));
  }
};

export const renderTrying = () => {
  const now = `${state.project.name}/${state.run}`;
  if (state.run !== null) showCommand(at("try-command"), state.project.run_commands[state.run]?.serve, false);
  if (now === shownRun || state.run === null) return;
  shownRun = now;
  at("answers").replaceChildren();
  at("try-status").textContent = "";
  answers.setTask("single-label", [], []);
  describe().catch(() => {});
};

export const setUpTrying = (camera) => {
  const work = (files) => answers.work(files);
  at("try-input").addEventListener("change", (event) => {
    work([...event.target.files]);
    event.target.value = "";
  });
  document.addEventListener("drop", (event) => {
    if (event.target.closest?.("#try-drop")) work([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (state.run !== null && event.clipboardData.files.length) work([...event.clipboardData.files]);
  });
  at("try-camera").addEventListener("click", () => {
    live = camera;
    at("shoot").hidden = true;
    at("camera-status").textContent = "";
    camera.open(() => {
      at("try-status").textContent = "The camera cannot be used: is there one, and may this page use it?";
    }).then(() => watch(camera)).catch(() => {});
  });
  at("camera").addEventListener("close", () => {
    live = null;
    at("shoot").hidden = false;
    at("live").replaceChildren();
  });
};
