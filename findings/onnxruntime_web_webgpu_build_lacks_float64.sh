#!/usr/bin/env bash
# onnxruntime-web 1.30.0 (npm), on Node.js or in a browser.
# One would guess: onnxruntime-web/webgpu runs what onnxruntime-web/wasm runs, and more, since it is the larger file (27 instead
#   of 14 MB) and also offers the provider "wasm".
# Seen: with the same provider, "wasm", it cannot load a graph that converts to or from float64: "Could not find an
#   implementation for Cast(13)". The smaller build loads and runs the same graph.
# Why a user of this field meets it: float64 is what preprocessing inside a graph is computed in, to round as Pillow does. A
#   page that is changed from one build to the other, to use the GPU where there is one, then fails for everybody.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund "onnxruntime-web@1.30.0" > install.txt 2>&1 || { cat install.txt; exit 1; }
python3 -m venv venv
venv/bin/python -m pip install --quiet "onnx==1.23.2" 2>/dev/null
venv/bin/python - <<'PYTHON'
import onnx
from onnx import TensorProto, helper

images, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("images", "made"))
nodes = [
    helper.make_node("Cast", ["images"], ["precise"], to=TensorProto.DOUBLE),
    helper.make_node("Cast", ["precise"], ["made"], to=TensorProto.FLOAT),
]
graph = helper.make_graph(nodes, "casts", [images], [made])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), "casts.onnx")
PYTHON
cat > run.mjs <<'NODE'
import fs from "node:fs";

const seen = {};
for (const build of ["wasm", "webgpu"]) {
  const ort = await import(`onnxruntime-web/${build}`);
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "fatal";
  try {
    const session = await ort.InferenceSession.create(new Uint8Array(fs.readFileSync("casts.onnx")), {
      executionProviders: ["wasm"],
    });
    const { made } = await session.run({ images: new ort.Tensor("float32", Float32Array.from([0.5, 2.5]), [2]) });
    seen[build] = `made ${Array.from(made.data)}`;
  } catch (error) {
    seen[build] = `refused: ${String(error.message ?? error).split("ERROR_MESSAGE: ").at(-1)}`;
  }
  console.log(`onnxruntime-web/${build} ${ort.env.versions.web}, provider wasm: ${seen[build]}`);
}
if (!seen.wasm.startsWith("made 0.5,2.5") || !seen.webgpu.includes("Cast")) {
  console.log("the behavior has changed");
  process.exit(1);
}
NODE
node run.mjs
