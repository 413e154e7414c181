"use strict";
// Tables of runs: a click on a heading sorts, words in the field above filter. Without this script
// they are whole, in the order of the report.
for (const table of document.querySelectorAll(".runs")) {
  const body = table.tBodies[0], rows = [...body.rows], headings = [...table.tHead.rows[0].cells];

  const key = (row, column) => {
    const cell = row.cells[column], text = cell.dataset.key ?? cell.textContent;
    return text === "" || isNaN(text) ? text : Number(text);
  };
  const compare = (a, b) =>
    a === "–" || b === "–" ? (a === "–") - (b === "–")  // what is missing comes last
      : typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const known = (row) => key(row, column) !== "–";
      const order = (a, b) => {
        const rising = compare(key(a, column), key(b, column));
        return down && known(a) && known(b) ? -rising : rising;
      };
      body.append(...[...body.rows].sort(order));
    });
  });

  const bar = document.createElement("div"), label = document.createElement("label");
  const field = document.createElement("input"), count = document.createElement("output");
  bar.className = "filter";
  field.type = "search";
  field.ariaLabel = `Filter: ${table.parentElement.ariaLabel}`;  // for a screen reader, of which table
  label.append("Filter: ", field);
  bar.append(label, count);
  table.parentElement.before(bar);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = [...row.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
  });
}

// Print the folded tables, too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    addEventListener("afterprint", () => { folded.open = false; }, { once: true });
  }
});
