// The page of `export --format web`: shows what worker.js answers, and makes the folder usable without a network.

import { answering } from "./answers.js";
import { at, showModel, takeImages } from "./drop.js";

at("unstarted").remove();

// Seconds to wait for the service worker: it keeps what is fetched after it has started.
const LONGEST_START_S = 3;
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

const startServiceWorker = async () => {
  const workers = navigator.serviceWorker;
  // Without one (in a private window, or over http from another computer) the page works, but only with the server.
  if (!workers) return;
  const started = new Promise((done) => workers.addEventListener("controllerchange", done, { once: true }));
  try {
    await workers.register("sw.js");
  } catch {
    return;
  }
  if (!workers.controller) await Promise.race([started, wait(LONGEST_START_S)]);
};

const waiting = new Map();
let nextId = 0;
let worker = null;
let failed = null;

const fail = (text) => {
  failed = text;
  at("loading").hidden = true;
  at("status").textContent = text;
  for (const { done } of waiting.values()) done({ error: text });
  waiting.clear();
};

const ON = {
  progress: ({ share }) => { at("progress").value = share; },
  ready: ({ engine }) => {
    at("loading").hidden = true;
    at("engine").textContent = `Images stay on this device. Computed with ${engine}.`;
  },
  failed: ({ error }) => fail(error),
  answer: ({ id, ...result }) => {
    waiting.get(id)?.done(result);
    waiting.delete(id);
  },
};

const started = startServiceWorker().then(() => {
  worker = new Worker(`worker.js${location.search}`, { type: "module" });
  worker.addEventListener("message", ({ data }) => ON[data.kind](data));
  worker.addEventListener("error", () => fail("This browser is too old for this page, or a file of it is missing."));
});

const ask = async (file, topk) => {
  await started;
  if (failed) return { error: failed };
  const id = nextId++;
  return new Promise((done) => {
    waiting.set(id, { done });
    worker.postMessage({ id, file, topk });
  });
};

// What a server would answer, for answers.js.
const predict = async (form, topk) => {
  const file = form.get("file");
  const { error, prediction, explanation } = await ask(file, topk);
  if (error) return { ok: false, error };
  const shown = explanation ? URL.createObjectURL(explanation) : null;
  const explanations = shown ? { explanation: shown, explanations: { [prediction.topk[0].label]: shown } } : { explanations: {} };
  return { ok: true, json: async () => ({ predictions: [{ name: file.name, ...prediction, ...explanations }] }) };
};
const failure = async ({ error }) => error;

const describe = async () => {
  const texts = await (await fetch("resnet_cli.json")).json();
  const classes = JSON.parse(texts.classes);
  const kind = setTask(texts.task ?? "single-label", classes, JSON.parse(texts.thresholds ?? "[]"));
  showModel({
    about: (number) => `The model ${kind.about(number)}`,
    classes,
    tellsUnfamiliar: "most_novel" in texts,
  });
};

const { work, setTask } = answering({ list: at("results"), status: at("status"), predict, describe, failure });
takeImages(work);
started.then(describe).catch(() => fail("A file of this page is missing, or the server cannot be reached."));
