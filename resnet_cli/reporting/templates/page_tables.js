  document.querySelectorAll("[data-tip]").forEach((mark) => {
    mark.addEventListener("pointerenter", () => showTipAt([mark.dataset.tip], mark));
    mark.addEventListener("pointerleave", hideTip);
  });

  const table = document.getElementById("classes-table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const spoken = document.getElementById("said");
  heads.forEach((head, index) => head.querySelector("button").addEventListener("click", () => {
    const order = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const key = (row) => row.cells[index].dataset.value;
    const isText = head.dataset.kind === "text";
    const compare = (one, other) => {
      const [a, b] = [key(one), key(other)];
      // Rows without a value come last in both directions.
      if (a === "" || b === "") return (a === "") - (b === "");
      return order * (isText ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
    };
    body.append(...[...body.rows].sort(compare));
    heads.forEach((each) => each.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", order === 1 ? "ascending" : "descending");
    spoken.textContent = `sorted by ${head.innerText.trim()}, ${order === 1 ? "lowest" : "highest"} first`;
  }));
  const search = document.getElementById("search");
  search?.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let num = 0;
    for (const row of body.rows) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
      num += !row.hidden;
    }
    document.getElementById("found").textContent = wanted ? `${number(num)} of ${number(body.rows.length)}` : "";
  });

  const copy = document.getElementById("copy");
  copy.addEventListener("click", async () => {
    const command = document.getElementById("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      // A page opened from a disk may not have this permission: use the older method.
      getSelection().selectAllChildren(command);
      document.execCommand("copy");
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });

  document.querySelectorAll("[data-script]").forEach((element) => { element.hidden = false; });
