// The studio's page: opens a project, and keeps every part of the page as the server says.

import { make } from "./answers.js";
import { askName, renderImages, say, setUpImages } from "./images.js";
import { chooseRun, renderExports, renderLabels, renderResults, setUpResults } from "./results.js";
import { api, at, get, listen, post, setToken, state } from "./server.js";
import { isBusy, renderCheck, renderTraining, setUpTraining, start } from "./training.js";
import { renderTrying, setUpTrying } from "./trying.js";

// Larger collections are checked on request.
const MAX_AUTO_CHECK = 3000;
let checkTimer = 0;

const render = () => {
  if (!state.project) return;
  renderImages();
  renderCheck();
  renderTraining();
  chooseRun();
  renderResults();
  renderTrying();
  renderLabels();
  renderExports();
};

let shownProjects = "";
const showProjects = () => {
  const now = JSON.stringify([state.projects, state.project.name]);
  if (now === shownProjects) return;
  shownProjects = now;
  at("project").replaceChildren(...state.projects.map(({ name, num_images: num }) => {
    const option = make("option", `${name} (${num.toLocaleString("en")} images)`);
    option.value = name;
    return option;
  }));
  at("project").value = state.project.name;
  at("title").textContent = state.project.name;
  document.title = `${state.project.name} · resnet-cli studio`;
  at("folder").textContent = state.project.folder;
};

const refresh = async () => {
  const name = state.project.name;
  const found = await get(api());
  // Another project may have been opened meanwhile.
  if (state.project.name !== name) return;
  state.project = found;
  const entry = state.projects.find((one) => one.name === name);
  if (entry) entry.num_images = found.classes.reduce((sum, one) => sum + one.images.length, 0);
  showProjects();
  render();
};

/* After images changed: shows them, and checks them once nothing changes any more. */
const changed = async () => {
  await refresh();
  clearTimeout(checkTimer);
  checkTimer = setTimeout(async () => {
    const num = state.project.classes.reduce((sum, one) => sum + one.images.length, 0);
    const isChecked = state.project.results.inspect?.stamp === state.project.stamp;
    if (num && num <= MAX_AUTO_CHECK && !isChecked && !isBusy() && await start("inspect", {}, "check")) render();
  }, 1500);
};

const openProject = async (name) => {
  state.project = await get(`api/projects/${encodeURIComponent(name)}`);
  state.run = null;
  sessionStorage.setItem("project", name);
  say("");
  showProjects();
  render();
};

const createProject = async (name) => {
  const project = await post("api/projects", { name });
  state.projects.unshift({ name: project.name, num_images: 0 });
  await openProject(project.name);
};

const setUp = () => {
  setUpTrying(setUpImages(changed));
  setUpTraining(refresh);
  setUpResults(render);
  at("project").addEventListener("change", () => openProject(at("project").value));
  at("project-new").addEventListener("click", async () => {
    const name = await askName("What is the new project called?", "Create the project");
    if (name === null) return;
    try {
      await createProject(name);
    } catch (error) {
      say(error.message);
    }
  });
};

const onJob = async (job) => {
  const wasRunning = isBusy();
  state.job = job;
  if (!state.project || !job) return;
  if (wasRunning && !isBusy()) {
    await refresh();
    if (job.kind === "train" && job.state === "done") {
      state.run = null;
      render();
      at("results").scrollIntoView({ block: "start" });
    }
  } else render();
};

const open = async () => {
  const found = await get("api/state");
  Object.assign(state, { projects: found.projects, job: found.job, viewKey: found.view_key });
  at("token-form").hidden = true;
  at("project-bar").hidden = at("main").hidden = false;
  at("weights").hidden = !found.weights;
  at("weights").textContent = found.weights ?? "";
  const names = found.projects.map((one) => one.name);
  const last = sessionStorage.getItem("project");
  if (names.includes(last)) await openProject(last);
  else if (names.length) await openProject(found.job?.project ?? names[0]);
  else await createProject("my-images");
  listen(onJob, (isGone) => { at("gone").hidden = !isGone; }, () => {
    at("main").hidden = at("project-bar").hidden = true;
    askForToken({ status: 401 });
  });
};

const askForToken = (error) => {
  at("token-form").hidden = false;
  at("title").textContent = error.status === 401 ? "Train a network on your images" : error.message;
  at("token").focus();
};

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = at("token").value.trim();
  setToken(given.includes("token=") ? given.split("token=")[1] : given);
  open().catch(askForToken);
});
setUp();
open().catch(askForToken);
