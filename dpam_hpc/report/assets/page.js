"use strict";
// Tables that sort by their heads, and the list of all targets as a table with a search.
(() => {
  const PAGE = 100;
  const SVG = "http://www.w3.org/2000/svg";
  const LEVELS = ".-=#";

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return x - y;
    if (a === "" || b === "") return (a === "") - (b === "");
    return a.localeCompare(b, "en", { numeric: true });
  };

  // Heads become buttons; `sort` is called with the column's number and the direction.
  const sortableHeads = (row, sort) => {
    const heads = [...row.children];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        // Numbers are asked for by size more often than by smallness.
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const direction = head.getAttribute("aria-sort") === first ? other : first;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction);
        sort(column, direction === "ascending" ? 1 : -1);
      });
    });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const key = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.sort ?? cell.textContent.trim();
    };
    sortableHeads(table.tHead.rows[0], (column, sign) => {
      const rows = [...body.rows];
      rows.sort((a, b) => sign * compare(key(a, column), key(b, column)));
      body.append(...rows);
    });
  }

  const strip = (cover, percent) => {
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of [["class", "strip"], ["viewBox", `0 0 ${cover.length} 1`],
      ["preserveAspectRatio", "none"], ["role", "img"], ["aria-label", `${percent} % covered`]]) {
      svg.setAttribute(name, value);
    }
    [...cover].forEach((part, x) => {
      const level = LEVELS.indexOf(part);
      if (level < 1) return;
      const rect = document.createElementNS(SVG, "rect");
      rect.setAttribute("class", `l${level}`);
      rect.setAttribute("x", x);
      rect.setAttribute("width", 1);
      rect.setAttribute("height", 1);
      svg.append(rect);
    });
    return svg;
  };

  // A box is a stop for the keyboard only where there is something to scroll.
  const stops = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
      if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", stops);
  addEventListener("load", stops);

  const text = document.getElementById("targets-text");
  const app = document.getElementById("targets-app");
  if (!text || !app) return;
  const lines = text.textContent.trimEnd().split("\n");
  const columns = lines[0].split("\t");
  const all = lines.slice(1).map((line) => line.split("\t"));
  const STATE = columns.indexOf("state");
  const COVER = columns.indexOf("cover");
  const PERCENT = columns.indexOf("% covered");
  for (const row of all) {
    while (row.length < columns.length) row.push("");
    row[STATE] ||= "done";
  }
  let found = all;
  let page = 0;

  const search = make("input", { type: "search", id: "search", autocomplete: "off" });
  const state = make("select", { id: "state" });
  for (const name of ["all", ...new Set(all.map((row) => row[STATE]))]) {
    state.append(make("option", { value: name, textContent: name }));
  }
  const before = make("button", { type: "button", textContent: "Previous" });
  const after = make("button", { type: "button", textContent: "Next" });
  const where = make("p", { id: "where" });
  where.setAttribute("role", "status");
  const head = make("tr");
  for (const [n, name] of columns.entries()) {
    const cell = make("th", { scope: "col", textContent: name });
    if (n > STATE && n !== COVER) cell.className = "number";
    head.append(cell);
  }
  const body = make("tbody");
  const table = make("table", {}, make("caption", { textContent: "Targets" }),
    make("thead", {}, head), body);
  const scroll = make("div", { className: "scroll", tabIndex: 0 }, table);
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "Targets");

  const draw = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(page, pages - 1);
    const rows = found.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
      const cells = row.map((value, n) => {
        const cell = make(n ? "td" : "th");
        if (!n) cell.scope = "row";
        if (n === COVER) {
          if (value) cell.append(strip(value, row[PERCENT]));
        } else {
          cell.textContent = value;
          if (n > STATE) cell.className = "number";
          if (n === STATE && value === "failed") cell.className = "bad";
        }
        return cell;
      });
      return make("tr", {}, ...cells);
    });
    body.replaceChildren(...rows);
    const first = found.length ? page * PAGE + 1 : 0;
    const last = Math.min(found.length, (page + 1) * PAGE);
    where.textContent = `${first} to ${last} of ${found.length} targets` +
      (found.length === all.length ? "" : ` that match, of ${all.length}`);
    before.disabled = page === 0;
    after.disabled = page >= pages - 1;
    stops();
  };
  const look = () => {
    const wanted = search.value.trim().toLowerCase();
    found = all.filter((row) => (state.value === "all" || row[STATE] === state.value) &&
      row[0].toLowerCase().includes(wanted));
    page = 0;
    draw();
  };
  sortableHeads(head, (column, sign) => {
    const key = column === COVER ? PERCENT : column;
    // What is not known stands last, in both directions.
    all.sort((a, b) => (a[key] === "" || b[key] === "" ? compare(a[key], b[key])
      : sign * compare(a[key], b[key])));
    look();
  });
  search.addEventListener("input", look);
  state.addEventListener("change", look);
  before.addEventListener("click", () => { page -= 1; draw(); });
  after.addEventListener("click", () => { page += 1; draw(); });

  app.append(
    make("div", { className: "controls" },
      make("label", { htmlFor: "search" }, "Search by id", search),
      make("label", { htmlFor: "state" }, "State", state), before, after),
    where, scroll);
  draw();
  text.hidden = true;
  app.hidden = false;
})();
