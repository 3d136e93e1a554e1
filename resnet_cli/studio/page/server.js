// The server's side of the page: requests with the token, the state that all parts share, and the events of a command.

import { make } from "./answers.js";

export const at = (id) => document.getElementById(id);
export const state = { project: null, projects: [], job: null, weights: null, viewKey: "", run: null };

const key = `token-${location.host}`;
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(key, given);
  history.replaceState(null, "", location.pathname);
}
let token = sessionStorage.getItem(key) || "";
export const setToken = (text) => {
  token = text;
  sessionStorage.setItem(key, text);
};

export const failure = async (response) => {
  try {
    const { message, hint } = (await response.json()).error;
    return hint ? `${sentence(message)} ${sentence(hint)}` : sentence(message);
  } catch {
    return `The server returned status ${response.status}.`;
  }
};
export const sentence = (text) => {
  // Names of files and commands keep their first letter.
  const whole = /^[a-z]+[ ,:]/.test(text) && !text.startsWith("resnet-cli") ? text.charAt(0).toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
};

export class Refused extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

export const ask = (address, options = {}) =>
  fetch(address, { ...options, headers: { ...options.headers, authorization: `Bearer ${token}` } });

/* The JSON of a response; throws Refused with a sentence for people. */
export const get = async (address, options = {}) => {
  let response;
  try {
    response = await ask(address, options);
  } catch {
    throw new Refused("The studio cannot be reached: is its terminal still open?", 0);
  }
  if (!response.ok) throw new Refused(await failure(response), response.status);
  return response.json();
};
export const post = (address, body) =>
  get(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/* A click or a drop may come before the page knows its project. */
export const ready = async () => {
  while (!state.project) await new Promise((done) => setTimeout(done, 50));
};

const enc = encodeURIComponent;
export const api = (rest = "") => `api/projects/${enc(state.project.name)}${rest}`;
export const view = (kind, ...parts) =>
  `view/${enc(state.project.name)}/${[kind, ...parts].map(enc).join("/")}?key=${state.viewKey}`;

/* An image of the project, named class/file. */
export const thumb = (path, alt = path) => {
  const [label, name] = path.split("/");
  const image = make("img");
  image.loading = "lazy";
  image.alt = alt;
  image.src = view("images", label, name);
  return image;
};

/* The box with the command that does the same as a click. */
export const showCommand = (place, text, isOpen = place.querySelector("details")?.open ?? true) => {
  if (place.dataset.text === text) return;
  place.dataset.text = text ?? "";
  if (!text) {
    place.replaceChildren();
    return;
  }
  const details = make("details", "", "command");
  details.open = isOpen;
  const box = make("div", "", "command-box");
  const copy = make("button", "Copy", "button small");
  copy.type = "button";
  copy.setAttribute("aria-label", "Copy the command");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  const shown = make("pre");
  shown.append(make("code", text));
  box.append(shown, copy);
  details.append(make("summary", "The same in a terminal"), box);
  place.replaceChildren(details);
};

/* Keeps the focus where it is while a part of the page is made anew. */
export const keepingFocus = (render) => {
  const id = document.activeElement?.id;
  render();
  if (id && document.activeElement?.id !== id) at(id)?.focus();
};

/* Calls `onJob` for every change of the current command, for as long as the page is open; `onGap` says whether the
   server is gone, and `onRestart` is called once it wants another token. */
export const listen = async (onJob, onGap, onRestart) => {
  for (;;) {
    try {
      const response = await ask("api/events");
      if (response.status === 401) {
        onGap(false);
        onRestart();
        return;
      }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      onGap(false);
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const lines = (text + value).split("\n");
        text = lines.pop();
        for (const line of lines) onJob(JSON.parse(line).job);
      }
    } catch {
      // It is tried again.
    }
    onGap(true);
    await new Promise((again) => setTimeout(again, 1000));
  }
};
