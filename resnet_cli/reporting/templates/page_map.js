
  const plane = document.getElementById("embedding-map");
  if (plane && data.map) {
    const [X, Y, RIGHT, TRUE, PREDICTED, PROB, NAME, LINK, AT, CORNER, CLASSES] = Array(11).keys();
    const { points, sheet, word } = data.map;
    const inCells = new Map((data.images ?? []).map((entry) => [entry[0], entry]));
    const panel = document.getElementById("embedding-image");
    const here = plane.querySelector(".here");
    const spokenMap = document.getElementById("said");
    const REACH_PX = 28;
    let chosen = -1;
    let fixed = false;
    const image = new Image();
    image.src = sheet;
    const imageOf = (point) => {
      const shot = make("img", "", "shot");
      shot.alt = `an image, ${word} ${point[TRUE]}: ${point[NAME]}`;
      if (point[CORNER]) {
        const [left, top, width, height] = point[CORNER];
        if (!width) return null;
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width, height];
        canvas.getContext("2d").drawImage(image, left, top, width, height, 0, 0, width, height);
        shot.src = canvas.toDataURL("image/jpeg", 0.92);
        return shot;
      }
      const [, , , , , src, isTiny] = inCells.get(point[AT]) ?? [];
      const known = src ? null : document.querySelector(`img[data-at="${point[AT]}"]`);
      if (src === "gone" || (!src && !known)) return null;
      shot.src = known ? known.src : `data:image/jpeg;base64,${src}`;
      if (isTiny || known?.classList.contains("tiny")) shot.classList.add("tiny");
      return shot;
    };
    const words = (point) => {
      const verdict = make("p", "", "verdict");
      const said = make("b", "", point[RIGHT] ? "said fine" : "said");
      said.append(make("bdi", point[PREDICTED]));
      const is = make("b");
      is.append(make("bdi", point[TRUE]));
      verdict.append(`${word} `, is, make("br"), "predicted ", said, point[PROB] ? ` ${point[PROB]}` : "", make("br"),
        make("span", point[RIGHT] ? "right" : "wrong", "muted"));
      return verdict;
    };
    const show = (index, isSpoken) => {
      if (index === chosen || index < 0) return;
      chosen = index;
      const point = points[index];
      here.setAttribute("d", `M${point[X]} ${point[Y]}h0`);
      here.removeAttribute("hidden");
      const figure = make("figure", "", "card plain-card");
      const shots = make("div", "", "shots");
      shots.append(imageOf(point) ?? make("span", "cannot be read", "shot gone"));
      const caption = make("figcaption");
      caption.append(words(point), fileName(point[NAME], point[LINK]));
      figure.append(shots, caption);
      panel.replaceChildren(figure);
      if (isSpoken) spokenMap.textContent = `${point[NAME]}, ${word} ${point[TRUE]}, predicted ${point[PREDICTED]} ${point[PROB]}, ${point[RIGHT] ? "right" : "wrong"}`;
    };
    const box = () => plane.getBoundingClientRect();
    const nearestTo = (event) => {
      const { left, top, width, height } = box();
      let [best, least] = [-1, REACH_PX ** 2];
      points.forEach((point, index) => {
        const far = (left + (point[X] / 100) * width - event.clientX) ** 2 + (top + (point[Y] / 100) * height - event.clientY) ** 2;
        if (far < least) [best, least] = [index, far];
      });
      return best;
    };
    const STEPS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const neighbor = ([dx, dy]) => {
      const { width, height } = box();
      let [best, least] = [chosen, Infinity];
      points.forEach((point, index) => {
        const [x, y] = [((point[X] - points[chosen][X]) * width) / 100, ((point[Y] - points[chosen][Y]) * height) / 100];
        const [along, across] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
        // Straight ahead counts more than close by.
        if (index !== chosen && along > 0 && along + 2 * across < least) [best, least] = [index, along + 2 * across];
      });
      return best;
    };
    const first = () => {
      const wrong = points.findIndex((point) => !point[RIGHT]);
      return wrong < 0 ? 0 : wrong;
    };
    const enlarge = () => panel.querySelector("img.shot")?.click();
    // A click keeps an image, so that the mouse can move to it.
    plane.addEventListener("pointermove", (event) => { if (!fixed && event.pointerType === "mouse") show(nearestTo(event), false); });
    plane.addEventListener("click", (event) => {
      const near = nearestTo(event);
      fixed = near >= 0;
      show(near, true);
    });
    plane.addEventListener("dblclick", enlarge);
    plane.addEventListener("focus", () => { if (chosen < 0 && plane.matches(":focus-visible")) show(first(), true); });
    plane.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") enlarge();
      else if (STEPS[event.key]) show(chosen < 0 ? first() : neighbor(STEPS[event.key]), true);
      else return;
      event.preventDefault();
    });
    document.getElementById("map-class")?.addEventListener("change", (event) => {
      const found = points.filter((point) => event.target.value !== "" && point[CLASSES].includes(Number(event.target.value)));
      plane.classList.toggle("dimmed", event.target.value !== "");
      plane.querySelector(".lit").setAttribute("d", found.map((point) => `M${point[X]} ${point[Y]}h0`).join(""));
      const wrong = found.filter((point) => !point[RIGHT]).length;
      document.getElementById("map-found").textContent = event.target.value === "" ? "" : `${number(found.length)}, of which ${number(wrong)} wrong`;
    });
    image.decode().then(() => { if (chosen < 0) show(first(), false); }, () => {});
  }
