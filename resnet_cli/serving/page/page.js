import { answering } from "./answers.js";
import { at, showModel, takeImages } from "./drop.js";

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
  showModel({
    about: (number) => `${model.name} ${kind.about(number)}`,
    classes,
    tellsUnfamiliar: model.tells_unfamiliar,
  });
};

const predict = (form, topk) => ask(`predict?topk=${topk}&explain=true`, { method: "POST", body: form });
const { work, setTask } = answering({ list: at("results"), status: at("status"), predict, describe, failure });

takeImages(work);

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value;
  sessionStorage.setItem("token", token);
  describe();
});
describe().catch(() => { at("status").textContent = "The server cannot be reached."; });
