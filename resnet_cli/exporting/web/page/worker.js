// Computes predictions with ONNX Runtime Web, on a thread of its own, so that the page stays responsive.

import { decode } from "./decode.js";
import { explain } from "./heat.js";

// Most threads: a phone's further cores are slow ones.
const MOST_THREADS = 4;

const NAMES = { wasm: "WebAssembly", webgpu: "WebGPU" };

const fetched = async (name) => {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} is missing: the server returned status ${response.status}`);
  return response;
};

const download = async (name, numBytes) => {
  const bytes = new Uint8Array(numBytes);
  let num = 0;
  const reader = (await fetched(name)).body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (num + value.length > numBytes) break;
    bytes.set(value, num);
    num += value.length;
    postMessage({ kind: "progress", share: num / numBytes });
  }
  if (num !== numBytes) throw new Error(`${name} is incomplete`);
  return bytes;
};

const chooseEngines = async ({ engines }) => {
  const asked = new URLSearchParams(location.search).get("engine");
  if (engines.includes(asked)) return [asked];
  if (!engines.includes("webgpu")) return ["wasm"];
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  // An adapter in software is slower than WebAssembly.
  const isReal = adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  return isReal ? ["webgpu", "wasm"] : ["wasm"];
};

const runtimes = new Map();
const openRuntime = async (engine) => {
  if (runtimes.has(engine)) return runtimes.get(engine);
  const { default: ort } = await import(`./ort.${engine}.js`);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { wasm: new URL(`ort.${engine}.wasm`, location.href).href };
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency) : 1;
  runtimes.set(engine, ort);
  return ort;
};

/* Opens a graph; the result takes inputs by name, each as [type, values, shape]. */
const openGraph = async (bytes, engine) => {
  const ort = await openRuntime(engine);
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [engine] });
  return (inputs) => session.run(
    Object.fromEntries(Object.entries(inputs).map(([name, parts]) => [name, new ort.Tensor(...parts)])),
  );
};

/* Decoded pixels -> the network's input, always in WebAssembly: WebGPU's runtime lacks some of the operators. */
const openPreprocessing = async () => {
  const bytes = new Uint8Array(await (await fetched("preprocess.onnx")).arrayBuffer());
  const run = await openGraph(bytes, "wasm");
  return async ({ pixels, width, height }) => (await run({ pictures: ["uint8", pixels, [1, height, width, 3]] })).images;
};

const open = async (engine, prepare, network, expected) => {
  const compute = await openGraph(network, engine);
  const run = async (image) => {
    const images = await prepare(image);
    return { images, ...await compute({ images: ["float32", images.data, images.dims] }) };
  };
  await check(run, expected);
  const { numThreads } = (await openRuntime(engine)).env.wasm;
  const threads = engine === "wasm" ? `, ${numThreads} ${numThreads === 1 ? "thread" : "threads"}` : "";
  return { run, engine: NAMES[engine] + threads };
};

/* Compares the output for one image with that of the export: graphics drivers have faults. It also warms up. */
const check = async (run, { width, height, probs, novelty, tolerance }) => {
  const pixels = Uint8Array.from({ length: 3 * width * height }, (_, index) => (index * 7919) % 251);
  const found = await run({ pixels, width, height });
  const differences = probs.map((prob, index) => Math.abs(prob - found.probs.data[index]));
  if (novelty !== null) differences.push(Math.abs(novelty - found.novelty.data[0]));
  if (!differences.every((one) => one <= tolerance)) throw new Error("This browser computes other predictions than the model.");
};

const start = async () => {
  const [page, texts] = await Promise.all(["page.json", "resnet_cli.json"].map(async (name) => (await fetched(name)).json()));
  const network = download("network.onnx", page.networkBytes);
  const engines = await chooseEngines(page);
  const prepare = await openPreprocessing();
  let model = null;
  for (const engine of engines) {
    try {
      model = await open(engine, prepare, await network, page.check);
      break;
    } catch (error) {
      if (engine === engines.at(-1)) throw error;
    }
  }
  const facts = {
    classes: JSON.parse(texts.classes),
    task: texts.task ?? "single-label",
    thresholds: JSON.parse(texts.thresholds ?? "[]"),
    mostNovel: "most_novel" in texts ? Number(texts.most_novel) : null,
    preprocess: JSON.parse(texts.preprocess),
  };
  postMessage({ kind: "ready", engine: model.engine });
  return { ...page, ...facts, run: model.run };
};

const started = start();
started.catch((error) => postMessage({ kind: "failed", error: `The model cannot be used: ${error.message}` }));

const predictionOf = ({ classes, task, thresholds, mostNovel, unlike }, { probs, novelty }, topk) => {
  const ranked = classes.map((label, index) => ({ label, prob: probs.data[index], index })).sort((a, b) => b.prob - a.prob);
  const unfamiliar = novelty && mostNovel !== null ? novelty.data[0] > Math.fround(mostNovel) : null;
  const prediction = {
    topk: ranked.slice(0, topk).map(({ label, prob }) => ({ label, prob })),
    novelty: novelty?.data[0] ?? null,
    unfamiliar,
    unknown: unfamiliar ? unlike : null,
  };
  if (task === "multi-label") {
    const chosen = ranked.filter(({ prob, index }) => thresholds[index] !== null && prob >= Math.fround(thresholds[index]));
    return { ...prediction, labels: chosen.map(({ label }) => label), probs: chosen.map(({ prob }) => prob) };
  }
  return { ...prediction, label: unfamiliar ? "unknown" : ranked[0].label, prob: ranked[0].prob };
};

const answer = async (file, topk) => {
  const model = await started;
  const output = await model.run(await decode(file, model.mostPixels));
  const explanation = output.heat ? await explain(output, model.preprocess, model.heat) : null;
  return { prediction: predictionOf(model, output, topk), explanation };
};

// One image at a time: a second one would only take memory.
let last = Promise.resolve();
self.addEventListener("message", ({ data: { id, file, topk } }) => {
  last = last.then(async () => {
    try {
      postMessage({ kind: "answer", id, ...await answer(file, topk) });
    } catch (error) {
      postMessage({ kind: "answer", id, error: error.message });
    }
  });
});
