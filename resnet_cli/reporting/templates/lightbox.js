"use strict";
(() => {
  const dialog = document.getElementById("lightbox");
  const part = (name) => dialog.querySelector(`.light-${name}`);
  const [count, images, caption, previous, next] = ["count", "images", "caption", "previous", "next"].map(part);
  // An image is enlarged together with what belongs to it: the others of its card, such as its heat map.
  const unitOf = (image) => image.closest(".shots") ?? image;
  const imagesIn = (unit) => (unit.matches("img") ? [unit] : [...unit.querySelectorAll("img.shot")]);
  const MOST_ENLARGED = 2.5;
  let units = [];
  let here = 0;

  const show = (index) => {
    here = index;
    const unit = units[here];
    const originals = imagesIn(unit);
    images.classList.toggle("two", originals.length === 2);
    images.replaceChildren(...originals.map((original) => {
      const large = document.createElement("img");
      large.src = original.src;
      large.alt = original.alt;
      large.className = original.classList.contains("tiny") ? "tiny" : "";
      const most = large.className ? 320 : MOST_ENLARGED * Math.max(original.naturalWidth, 1);
      large.style.width = `${Math.min(most, 880)}px`;
      return large;
    }));
    const words = unit.closest("figure")?.querySelector("figcaption");
    caption.replaceChildren(words ? words.cloneNode(true) : originals[0].title || originals[0].alt);
    caption.querySelectorAll("[title], [tabindex]").forEach((element) => element.removeAttribute("tabindex"));
    count.textContent = units.length > 1 ? `${here + 1} of ${units.length}` : "";
    previous.hidden = here === 0;
    next.hidden = here === units.length - 1;
  };
  const go = (step) => {
    const wanted = Math.min(units.length - 1, Math.max(0, here + step));
    if (wanted === here) return;
    show(wanted);
    // A button that has just been hidden would take the focus with it.
    if (document.activeElement === document.body || document.activeElement?.hidden) part("close").focus();
  };
  const open = (image) => {
    const group = image.closest("section, main") ?? document.body;
    const shown = [...group.querySelectorAll("img.shot")].filter((one) => one.checkVisibility?.() ?? true);
    units = [...new Set(shown.map(unitOf))];
    dialog.showModal();
    show(Math.max(0, units.indexOf(unitOf(image))));
    part("close").focus();
  };

  const mark = (image) => {
    image.classList.add("zoomable");
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-haspopup", "dialog");
  };
  const isImage = (element) => element.matches?.("main img.shot");
  const markAll = () => document.querySelectorAll("main img.shot:not(.zoomable)").forEach(mark);
  markAll();
  // Images that the page shows later can be enlarged, too.
  new MutationObserver(markAll).observe(document.querySelector("main"), { childList: true, subtree: true });

  document.addEventListener("click", (event) => { if (isImage(event.target)) open(event.target); });
  document.addEventListener("keydown", (event) => {
    if (dialog.open) {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -units.length, End: units.length }[event.key];
      if (!step) return;
      go(step);
    } else if (isImage(event.target) && (event.key === "Enter" || event.key === " ")) {
      open(event.target);
    } else return;
    event.preventDefault();
  });
  previous.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  part("close").addEventListener("click", () => dialog.close());
  // A click beside the content of the dialog is one on the dialog itself.
  dialog.addEventListener("click", (event) => {
    const box = dialog.getBoundingClientRect();
    const isOutside = event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
    if (event.target === dialog && isOutside) dialog.close();
  });
})();
