// Images that are dropped, pasted, chosen or photographed. Used by the page of `serve` and by `export --format web`.

import { make } from "./answers.js";
import { setUpCamera } from "./camera.js";

export const at = (id) => document.getElementById(id);

/* Gives every image to `work`, a function that takes a list of files. */
export const takeImages = (work) => {
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
};

/* Says what the model does, and lists its classes. */
export const showModel = ({ about, classes, tellsUnfamiliar }) => {
  const num = classes.length.toLocaleString("en");
  at("about").textContent = about(`${num} ${classes.length === 1 ? "class" : "classes"}`)
    + (tellsUnfamiliar ? ", and says when an image is unlike its training images." : ".");
  at("known").hidden = false;
  at("known").querySelector("summary").textContent = `The ${num} classes`;
  at("known").querySelector("ul").replaceChildren(...classes.map((name) => {
    const item = make("li");
    item.append(make("bdi", name));
    return item;
  }));
};
