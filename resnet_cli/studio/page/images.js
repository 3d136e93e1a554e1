// Classes and their images: add, drop, photograph, move, rename and remove them.

import { make } from "./answers.js";
import { setUpCamera } from "./camera.js";
import { batchesOf, filesOf, isArchive } from "./files.js";
import { api, at, failure, get, keepingFocus, post, ready, showCommand, sentence, state, thumb, ask } from "./server.js";

const READABLE = at("try-input").accept.split(",");
const SHOWN = 12;
const MORE = 120;
const shownOf = new Map();
let onChange = async () => {};
let camera = null;
let photographed = null;

export const say = (text, ...buttons) => {
  at("images-status").replaceChildren(make("span", text), ...buttons);
};
const plural = (num, noun) => `${num.toLocaleString("en")} ${noun}${num === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
const isImage = (file) => READABLE.some((end) => file.name.toLowerCase().endsWith(end)) && !file.name.startsWith(".");

/* Makes a change, and shows the command that does the same; false if it is refused. */
export const change = async (body, status = say) => {
  try {
    const { command } = await post(api("/change"), body);
    if (command.includes("\n")) showCommand(at("images-command"), command);
    await onChange();
    return true;
  } catch (error) {
    status(error.message);
    return false;
  }
};

/* Asks for the name of a class; null if that is cancelled. */
const askName = (title, yes) => new Promise((done) => {
  const dialog = at("ask");
  at("ask-title").textContent = title;
  at("ask-yes").textContent = yes;
  at("ask-text").value = "";
  at("ask-error").textContent = "";
  at("ask-known").replaceChildren(...(state.project?.classes ?? []).map(({ name }) => {
    const option = make("option");
    option.value = name;
    return option;
  }));
  dialog.returnValue = "";
  dialog.addEventListener("close", () => done(dialog.returnValue === "yes" ? at("ask-text").value.trim() : null), { once: true });
  dialog.showModal();
  at("ask-text").focus();
});
export { askName };

const addClass = async () => {
  await ready();
  const name = await askName("What do the images of the new class show?", "Add the class");
  if (name === null) return;
  if (await change({ change: "add-class", name })) {
    say(`The class ${name} is there: drop images onto it.`);
    at(`name-${name}`)?.closest(".class").scrollIntoView({ block: "nearest" });
  }
};

const ensureClass = async (name) => {
  if (!state.project.classes.some((one) => one.name === name)) await post(api("/change"), { change: "add-class", name });
};

const showRefused = (refused) => {
  at("refused").hidden = !refused.length;
  at("refused").replaceChildren(...refused.slice(0, 20).map(({ name, reason }) => make("li", `${name}: ${reason}`)));
  if (refused.length > 20) at("refused").append(make("li", `and ${plural(refused.length - 20, "more file")}`));
};

const showProgress = (share) => {
  at("images-progress").hidden = share === null;
  at("images-progress").querySelector(".fill").style.setProperty("--share", `${100 * (share ?? 0)}%`);
};

/* Sends files to classes: class name -> files. */
const send = async (byClass, numOthers = 0) => {
  const total = [...byClass.values()].reduce((sum, files) => sum + files.length, 0);
  if (!total) {
    say(numOthers ? "None of these files is an image that can be read." : "There is no image here.");
    return;
  }
  const refused = [];
  let done = 0;
  let added = 0;
  let same = 0;
  showProgress(0);
  showRefused([]);
  for (const [label, files] of byClass) {
    try {
      await ensureClass(label);
      for (const batch of batchesOf(files)) {
        say(`Adding ${plural(total, "image")}: ${done.toLocaleString("en")} done …`);
        const form = new FormData();
        for (const file of batch) form.append("file", file, file.name);
        const found = await get(api(`/classes/${encodeURIComponent(label)}`), { method: "POST", body: form });
        added += found.added.length;
        same += found.same;
        refused.push(...found.refused);
        done += batch.length;
        showProgress(done / total);
      }
    } catch (error) {
      refused.push({ name: label, reason: error.message });
      done += files.length;
    }
    await onChange();
  }
  showProgress(null);
  showRefused(refused);
  const parts = [`${plural(added, "image")} added.`];
  if (same) parts.push(`${plural(same, "image")} ${same === 1 ? "was" : "were"} there already.`);
  if (refused.length) parts.push(`${plural(refused.length, "file")} could not be added:`);
  if (numOthers) parts.push(`${plural(numOthers, "other file")} ${numOthers === 1 ? "was" : "were"} left out.`);
  say(parts.join(" "));
};

const sendArchive = async (file) => {
  say(`Unpacking ${file.name} …`);
  showRefused([]);
  at("images-progress").hidden = false;
  at("images-progress").querySelector(".track").classList.add("unknown");
  try {
    const found = await get(api(`/archive?name=${encodeURIComponent(file.name)}`), {
      method: "POST",
      headers: { "content-type": "application/octet-stream" },
      body: file,
    });
    say([`${plural(found.added, "image")} added from ${file.name}.`,
      ...(found.same ? [`${plural(found.same, "image")} were there already.`] : []),
      ...found.notes.map(sentence)].join(" "));
  } catch (error) {
    say(`${file.name} was not added. ${error.message}`);
  }
  at("images-progress").querySelector(".track").classList.remove("unknown");
  showProgress(null);
  await onChange();
};

/* Takes files: to `label` if there is one, else to the class that the innermost folder of each names. */
const take = async (found, label = null) => {
  await ready();
  for (const { file } of found.filter((one) => isArchive(one.file))) await sendArchive(file);
  const rest = found.filter((one) => !isArchive(one.file));
  if (!rest.length) return;
  const images = rest.filter((one) => isImage(one.file));
  const loose = images.filter((one) => !label && !one.folders.length);
  let looseClass = null;
  if (loose.length) {
    looseClass = await askName(`Which class ${loose.length === 1 ? "does this photo" : `do these ${loose.length} photos`} belong to?`, "Add them");
    if (!looseClass) return;
  }
  const byClass = new Map();
  for (const { file, folders } of images) {
    const name = label ?? folders.at(-1) ?? looseClass;
    byClass.set(name, [...(byClass.get(name) ?? []), file]);
  }
  await send(byClass, rest.length - images.length);
};

const remove = async (path) => {
  const [label, name] = path.split("/");
  if (!await change({ change: "move-images", images: [path], to: null })) return;
  const undo = make("button", "Undo", "link");
  undo.type = "button";
  undo.addEventListener("click", async () => {
    if (await change({ change: "restore", image: path })) say(`${name} is back in ${label}.`);
  });
  say(`${name} was moved to the folder “removed”.`, undo);
};

const thumbItem = (path) => {
  const item = make("li", "", "thumb");
  const button = make("button", "×", "remove");
  button.type = "button";
  button.setAttribute("aria-label", `Remove ${path}`);
  button.addEventListener("click", () => remove(path));
  item.append(thumb(path), button);
  return item;
};

const classCard = ({ name, images }) => {
  const card = make("div", "", "class");
  card.dataset.label = name;
  const head = make("div", "", "class-head");
  const field = make("input", "", "class-name");
  Object.assign(field, { value: name, id: `name-${name}`, maxLength: 60 });
  field.setAttribute("aria-label", `Name of the class ${name}`);
  field.addEventListener("change", async () => {
    const isDone = await change({ change: "rename-class", label: name, name: field.value });
    if (isDone) say(`The class is now called ${field.value}.`);
    else field.value = name;
  });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") field.blur(); });
  head.append(field, make("span", plural(images.length, "image"), "count"));
  const thumbs = make("ul", "", "thumbs");
  const num = shownOf.get(name) ?? SHOWN;
  thumbs.append(...images.slice(0, num).map((file) => thumbItem(`${name}/${file}`)));
  const more = make("button", `Show ${Math.min(MORE, images.length - num)} more`, "link");
  Object.assign(more, { type: "button", hidden: images.length <= num, id: `more-${name}` });
  more.addEventListener("click", () => {
    shownOf.set(name, num + MORE);
    renderImages();
  });
  const buttons = make("div", "", "buttons");
  const input = make("input", "", "hidden-input");
  Object.assign(input, { type: "file", multiple: true, accept: READABLE.join(","), id: `files-${name}` });
  input.addEventListener("change", () => take([...input.files].map((file) => ({ file, folders: [] })), name));
  const choose = make("label", "Add photos", "button small");
  choose.htmlFor = input.id;
  const photo = make("button", "Camera", "button small");
  Object.assign(photo, { type: "button", id: `camera-${name}` });
  photo.setAttribute("aria-label", `Take photos of ${name}`);
  photo.addEventListener("click", () => {
    photographed = name;
    at("camera-status").textContent = `Photos go into the class ${name}.`;
    camera.open(() => say("The camera cannot be used: is there one, and may this page use it?"));
  });
  const drop = make("button", "Remove class", "button small");
  drop.type = "button";
  drop.setAttribute("aria-label", `Remove the class ${name}`);
  drop.addEventListener("click", async () => {
    if (await change({ change: "remove-class", label: name })) say(`The class ${name} was moved to the folder “removed”.`);
  });
  buttons.append(input, choose, photo, drop);
  const none = make("p", "Drop photos of this class here.", "empty");
  card.append(head, images.length ? thumbs : none, more, buttons);
  return card;
};

let rendered = "";
export const renderImages = () => {
  const { classes, stamp, name } = state.project;
  const now = JSON.stringify([name, stamp, classes.map((one) => one.name), [...shownOf]]);
  if (now === rendered) return;
  rendered = now;
  const num = classes.reduce((sum, one) => sum + one.images.length, 0);
  at("images-count").textContent = classes.length ? `${plural(classes.length, "class")}, ${plural(num, "image")}` : "";
  keepingFocus(() => at("classes").replaceChildren(...classes.map(classCard)));
};

const overOf = (target) => target.closest?.(".class") ?? at("drop");
export const setUpImages = (changed) => {
  onChange = changed;
  at("class-new").addEventListener("click", addClass);
  at("ask-no").addEventListener("click", () => at("ask").close());
  at("folder-input").addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await take(files.map((file) => ({ file, folders: file.webkitRelativePath.split("/").slice(0, -1) })));
  });
  at("zip-input").addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await take(files.map((file) => ({ file, folders: [] })));
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      for (const one of document.querySelectorAll(".over")) one.classList.remove("over");
      (event.target.closest?.("#try-drop") ?? overOf(event.target)).classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) for (const one of document.querySelectorAll(".over")) one.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    for (const one of document.querySelectorAll(".over")) one.classList.remove("over");
    if (event.target.closest?.("#try-drop")) return;
    const card = event.target.closest?.(".class");
    await take(await filesOf(event.dataTransfer), card?.dataset.label ?? null);
  });
  camera = setUpCamera({
    dialog: at("camera"),
    shoot: at("shoot"),
    close: at("camera-close"),
    onPhoto: async (photo) => {
      if (photographed === null) return;
      const label = photographed;
      const stamp = new Date().toISOString().replace(/\D/g, "").slice(0, 17);
      const form = new FormData();
      form.append("file", photo, `photo-${stamp}.jpg`);
      const response = await ask(api(`/classes/${encodeURIComponent(label)}`), { method: "POST", body: form });
      await onChange();
      const num = state.project.classes.find((one) => one.name === label)?.images.length ?? 0;
      at("camera-status").textContent = response.ok ? `${label} has ${plural(num, "image")}.` : await failure(response);
    },
  });
  at("camera").addEventListener("close", () => { photographed = null; });
  return camera;
};
