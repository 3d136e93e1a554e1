import { answering, make } from "./answers.js";
import { setUpCamera } from "./camera.js";

const at = (id) => document.getElementById(id);
const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
let token = sessionStorage.getItem("token") || "";

const ask = async (address, options = {}) => {
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  for (let attempt = 0; ; attempt += 1) {
    const response = await fetch(address, { ...options, headers });
    if (response.status !== 503 || attempt === 5) return response;
    await wait(Number(response.headers.get("retry-after")) || 1);
  }
};

const failure = async (response) => {
  try {
    return (await response.json()).error.message;
  } catch {
    return `the server returned status ${response.status}`;
  }
};

const describe = async () => {
  const response = await ask("classes");
  at("token-form").hidden = response.status !== 401;
  at("drop").hidden = response.status === 401;
  if (response.status === 401) {
    at("status").textContent = token ? "That token is wrong." : "";
    at("token").focus();
    return;
  }
  if (!response.ok) {
    at("status").textContent = await failure(response);
    return;
  }
  at("status").textContent = "";
  const { model, classes, task, thresholds } = await response.json();
  const kind = setTask(task, classes, thresholds);
  const num = classes.length.toLocaleString("en");
  at("about").textContent = `${model.name} ${kind.about(`${num} ${classes.length === 1 ? "class" : "classes"}`)}`
    + (model.tells_unfamiliar ? ", and says when an image is unlike its training images." : ".");
  at("known").hidden = false;
  at("known").querySelector("summary").textContent = `The ${num} classes`;
  at("known").querySelector("ul").replaceChildren(...classes.map((name) => {
    const item = make("li");
    item.append(make("bdi", name));
    return item;
  }));
};

const predict = (form, topk) => ask(`predict?topk=${topk}&explain=true`, { method: "POST", body: form });
const { work, setTask } = answering({ list: at("results"), status: at("status"), predict, describe, failure });

const drop = at("drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  work([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) work([...event.clipboardData.files]);
});
for (const id of ["files", "photo"]) {
  at(id).addEventListener("change", (event) => {
    work([...event.target.files]);
    event.target.value = "";
  });
}

const camera = setUpCamera({
  dialog: at("camera"),
  shoot: at("shoot"),
  close: at("camera-close"),
  onPhoto: (photo) => {
    camera.dialog.close();
    work([photo]);
  },
});
at("camera-open").addEventListener("click", () => camera.open(() => at("photo").click()));

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("token", token);
  describe();
});
describe().catch(() => { at("status").textContent = "The server cannot be reached."; });
